from __future__ import annotations

import io
import json
from typing import Any

import aiohttp
import pytest

from aegis.api.dispatch import UNPROVED_BYTES_MAX
from aegis.domain.execution import Execution
from tests.support.small_world import World, dispatch_token

RESULT = {
    "type": "dispatch_result",
    "dispatch_id": "d1",
    "exit_code": 0,
    "stdout": "42\n",
    "stderr": "",
    "duration_ms": 3,
    "truncated": False,
}


@pytest.fixture
async def execution(world: World) -> Execution:
    return await world.running_execution()


def headers(execution: Execution, *, named: bool = True) -> dict[str, str]:
    token = {"Authorization": f"Bearer {dispatch_token(execution.agent_id)}"}
    return {**token, "X-Aegis-Execution": execution.id} if named else token


def generate(execution: Execution, **changes: Any) -> dict[str, Any]:
    message = {
        "type": "generate",
        "agent_id": execution.agent_id,
        "execution_id": execution.id,
        "iteration_number": 1,
        "prompt": "say hello",
        "model_alias": "default",
        "messages": [],
    }
    return {**message, **changes}


@pytest.mark.parametrize("named", [True, False])
async def test_a_step_is_asked_for_and_its_result_taken(
    bridge: aiohttp.ClientSession, world: World, execution: Execution, named: bool
) -> None:
    own = headers(execution, named=named)
    async with bridge.post("/v1/dispatch-gateway", json=generate(execution), headers=own) as answer:
        assert (await answer.json())["type"] == "dispatch"
    result = {**RESULT, "execution_id": execution.id}
    async with bridge.post("/v1/dispatch-gateway", json=result, headers=own) as answer:
        assert (await answer.json())["type"] == "final"
    assert world.loop.results["d1"]["stdout"] == "42\n"


async def test_the_message_must_be_of_the_execution_that_was_named(
    bridge: aiohttp.ClientSession, world: World, execution: Execution
) -> None:
    other = await world.running_execution("other")
    message = generate(execution, execution_id=other.id)
    async with bridge.post("/v1/dispatch-gateway", json=message, headers=headers(execution)) as answer:
        assert answer.status == 400
    async with bridge.post("/v1/dispatch-gateway", json=message, headers=headers(execution, named=False)) as answer:
        assert answer.status == 401


async def test_a_large_body_is_read_only_for_those_who_proved_who_they_are(
    bridge: aiohttp.ClientSession, execution: Execution
) -> None:
    result = json.dumps({**RESULT, "execution_id": execution.id, "stdout": "x" * UNPROVED_BYTES_MAX}).encode()
    unnamed = headers(execution, named=False)
    async with bridge.post("/v1/dispatch-gateway", data=io.BytesIO(result), headers=unnamed) as answer:
        assert answer.status == 413
    wrong = {**headers(execution), "Authorization": "Bearer wrong"}
    async with bridge.post("/v1/dispatch-gateway", data=io.BytesIO(result), headers=wrong) as answer:
        assert answer.status == 401
    async with bridge.post("/v1/dispatch-gateway", data=io.BytesIO(result), headers=headers(execution)) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    "changes",
    [{"type": "unheard_of"}, {"iteration_number": 0}, {"extra": 1}, {"messages": [1]}, {"prompt": None}],
)
async def test_a_message_outside_the_protocol_is_refused(
    bridge: aiohttp.ClientSession, execution: Execution, changes: dict[str, Any]
) -> None:
    message = generate(execution, **changes)
    async with bridge.post("/v1/dispatch-gateway", json=message, headers=headers(execution)) as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, "invalid_request")
