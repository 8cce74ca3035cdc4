from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from aegis.api.app import DISPATCH_ROUTES, ROUTES
from aegis.api.auth import Access, ApiTokens, BadTokenFile, ensure_token_file
from aegis.domain.execution import ExecutionState
from aegis.errors import Refused
from tests.support.small_world import API_TOKEN, World, dispatch_token

CLOSED = [route for route in ROUTES if route.access is not Access.OPEN]
OF_THE_API = [route for route in CLOSED if route.access in (Access.API, Access.NODE)]


def url(path: str) -> str:
    for name in ("agent", "execution", "volume"):
        path = path.replace("{" + name + "}", "some")
    return path.replace("{path:(?:/.*)?}", "/x")


@pytest.mark.parametrize("route", CLOSED, ids=lambda route: f"{route.method} {route.path}")
async def test_without_a_token_nothing_but_health_and_the_description_answers(
    anonymous: aiohttp.ClientSession, route: object
) -> None:
    async with anonymous.request(route.method, url(route.path), params={"execution_id": "e"}) as answer:
        assert answer.status == 401
        assert (await answer.json())["code"] == "unauthorized"
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("route", OF_THE_API, ids=lambda route: f"{route.method} {route.path}")
async def test_a_dispatch_token_opens_nothing_of_the_api(
    anonymous: aiohttp.ClientSession, world: World, route: object
) -> None:
    execution = await world.running_execution()
    headers = {"Authorization": f"Bearer {dispatch_token(execution.agent_id)}"}
    async with anonymous.request(route.method, url(route.path), headers=headers) as answer:
        assert answer.status == 401


async def test_an_api_token_does_not_open_the_dispatch_gateway(api: aiohttp.ClientSession, world: World) -> None:
    execution = await world.running_execution()
    async with api.get("/v1/dispatch-gateway/task", params={"execution_id": execution.id}) as answer:
        assert answer.status == 401


async def test_containers_reach_dispatch_and_liveness_only(bridge: aiohttp.ClientSession, world: World) -> None:
    execution = await world.running_execution()
    both = {"Authorization": f"Bearer {API_TOKEN}"}
    for route in ROUTES:
        if route in DISPATCH_ROUTES:
            continue
        async with bridge.request(route.method, url(route.path), headers=both) as answer:
            assert answer.status == 404, route.path
    headers = {"Authorization": f"Bearer {dispatch_token(execution.agent_id)}"}
    query = {"execution_id": execution.id, "iteration": "1"}
    async with bridge.get("/v1/dispatch-gateway/task", params=query, headers=headers) as answer:
        assert (await answer.json())["prompt"] == "say hello"


async def test_one_executions_token_does_not_speak_for_another(anonymous: aiohttp.ClientSession, world: World) -> None:
    mine, other = await world.running_execution("mine"), await world.running_execution("other")
    headers = {"Authorization": f"Bearer {dispatch_token(mine.agent_id)}"}
    query = {"execution_id": other.id}
    async with anonymous.get("/v1/dispatch-gateway/task", params=query, headers=headers) as answer:
        assert answer.status == 401


async def test_a_token_ends_with_its_execution(anonymous: aiohttp.ClientSession, world: World) -> None:
    execution = await world.running_execution()
    await world.supervisor.end(execution.id, ExecutionState.FAILED)
    headers = {"Authorization": f"Bearer {dispatch_token(execution.agent_id)}"}
    query = {"execution_id": execution.id}
    async with anonymous.get("/v1/dispatch-gateway/task", params=query, headers=headers) as answer:
        assert answer.status == 409
        assert (await answer.json())["code"] == "execution_over"


def test_an_api_without_tokens_cannot_be_made(world: World) -> None:
    with pytest.raises(ValueError, match="without any token"):
        world.create(api_tokens=[])


def test_a_guessable_token_is_refused() -> None:
    with pytest.raises(Refused, match="16 to 512"):
        ApiTokens(["short"])


def test_the_token_file_is_made_once_and_read_by_its_owner_only(tmp_path: Path) -> None:
    first = ensure_token_file(tmp_path)
    assert ensure_token_file(tmp_path) == first
    assert [entry.name for entry in tmp_path.iterdir()] == ["api-token"]
    assert (tmp_path / "api-token").stat().st_mode & 0o777 == 0o600
    assert ApiTokens([first]).accept(first)


def test_a_token_file_others_can_read_is_refused(tmp_path: Path) -> None:
    ensure_token_file(tmp_path)
    (tmp_path / "api-token").chmod(0o640)
    with pytest.raises(BadTokenFile, match="0640"):
        ensure_token_file(tmp_path)


def test_an_empty_token_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "api-token").touch(0o600)
    with pytest.raises(BadTokenFile, match="Delete it"):
        ensure_token_file(tmp_path)
