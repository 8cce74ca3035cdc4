from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest

from aegis.api import ApiServer
from aegis.domain.events import Event
from aegis.domain.execution import ExecutionState
from tests.support.small_world import API_TOKEN, World


def parse(text: str) -> list[dict[str, object]]:
    """The events of a server-sent stream; comments and `retry:` left out."""
    blocks = [block for block in text.split("\n\n") if "\ndata: " in block]
    return [json.loads(block.partition("data: ")[2]) for block in blocks]


async def test_an_execution_is_started_shown_and_listed(api: aiohttp.ClientSession) -> None:
    async with api.post("/v1/agents", data="name: greeter\n") as answer:
        assert answer.status == 201
    async with api.post("/v1/executions", json={"agent": "greeter", "input": "hi"}) as answer:
        assert answer.status == 201
        started = await answer.json()
    async with api.get(answer.headers["Location"]) as answer:
        shown = await answer.json()
    assert shown["state"] == "running"
    assert shown["iterations"] == []
    assert "token_hash" not in shown
    async with api.get("/v1/executions?state=running,pending") as answer:
        assert [item["id"] for item in (await answer.json())["items"]] == [started["id"]]
    async with api.get("/v1/executions?state=failed") as answer:
        assert (await answer.json())["items"] == []


async def test_unknown_fields_are_refused_by_name(api: aiohttp.ClientSession) -> None:
    async with api.post("/v1/executions", json={"agent": "greeter", "inptu": "hi", "x": 1}) as answer:
        problem = await answer.json()
    assert (answer.status, problem["code"]) == (400, "invalid_request")
    assert sorted(fault["path"] for fault in problem["problems"]) == ["inptu", "x"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b'{"agent": 1}', b'{"agent": NaN}', b"\xff"])
async def test_a_body_that_is_no_request_is_a_problem_not_a_crash(api: aiohttp.ClientSession, body: bytes) -> None:
    async with api.post("/v1/executions", data=body) as answer:
        assert answer.status == 400
        assert (await answer.json())["problems"]


async def test_bad_queries_say_what_was_wanted(api: aiohttp.ClientSession) -> None:
    for query in ("limit=0", "limit=x", "limit=1001", "state=sleeping"):
        async with api.get(f"/v1/executions?{query}") as answer:
            assert answer.status == 400, query
            problem = await answer.json()
    assert "running" in problem["next_step"]


async def test_cancel_is_refused_once_it_has_ended(api: aiohttp.ClientSession, world: World) -> None:
    execution = await world.running_execution()
    async with api.post(f"/v1/executions/{execution.id}/cancel") as answer:
        assert (answer.status, (await answer.json())["state"]) == (202, "cancelled")
    async with api.post(f"/v1/executions/{execution.id}/cancel") as answer:
        assert (answer.status, (await answer.json())["code"]) == (409, "conflict")


async def test_another_tenants_execution_is_not_there(api: aiohttp.ClientSession, world: World) -> None:
    execution = await world.running_execution()
    world.store.executions[execution.id] = replace(execution, tenant_id="other")
    for path in ("", "/events", "/stream"):
        async with api.get(f"/v1/executions/{execution.id}{path}") as answer:
            assert answer.status == 404


async def test_events_are_read_page_by_page(api: aiohttp.ClientSession, world: World) -> None:
    execution = await world.running_execution()
    await world.supervisor.run_wrong_then_right(execution.id)
    seen: list[dict[str, object]] = []
    while True:
        after = seen[-1]["sequence"] if seen else 0
        async with api.get(f"/v1/executions/{execution.id}/events?after={after}&limit=3") as answer:
            page = (await answer.json())["items"]
        if not page:
            break
        seen += page
    assert [event["sequence"] for event in seen] == list(range(1, 11))
    assert seen[-1]["kind"] == "execution.completed"


async def test_a_stream_shows_what_was_and_what_comes_and_ends_with_the_execution(
    api: aiohttp.ClientSession, world: World
) -> None:
    execution = await world.running_execution()
    async with api.get(f"/v1/executions/{execution.id}/stream") as answer:
        assert answer.content_type == "text/event-stream"
        while b"execution.started" not in await answer.content.readline():
            pass
        await world.supervisor.run_wrong_then_right(execution.id)
        rest = (await answer.read()).decode()
    assert rest.count("event: iteration.started") == 2
    assert rest.rstrip().splitlines()[-2] == "event: execution.completed"
    assert world.events.followers == 0


async def test_a_stream_resumes_after_the_last_event_seen(api: aiohttp.ClientSession, world: World) -> None:
    execution = await world.running_execution()
    await world.supervisor.run_wrong_then_right(execution.id)
    async with api.get(f"/v1/executions/{execution.id}/stream", headers={"Last-Event-ID": "8"}) as answer:
        assert [event["sequence"] for event in parse(await answer.text())] == [9, 10]


async def test_a_stream_already_seen_to_its_end_tells_the_client_to_stop(
    api: aiohttp.ClientSession, world: World
) -> None:
    execution = await world.running_execution()
    await world.supervisor.end(execution.id, ExecutionState.FAILED)
    async with api.get(f"/v1/executions/{execution.id}/stream", headers={"Last-Event-ID": "2"}) as answer:
        assert answer.status == 204


@pytest.mark.parametrize("last", ["x", "-1", "9" * 30, "\u0661"])
async def test_a_last_event_id_of_nobody_is_refused(api: aiohttp.ClientSession, world: World, last: str) -> None:
    execution = await world.running_execution()
    async with api.get(f"/v1/executions/{execution.id}/stream", headers={"Last-Event-ID": last}) as answer:
        assert answer.status == 400


async def test_an_idle_stream_beats_and_a_client_that_leaves_is_let_go(
    api: aiohttp.ClientSession, world: World
) -> None:
    execution = await world.running_execution()
    answer = await api.get(f"/v1/executions/{execution.id}/stream")
    while not (await answer.content.readline()).startswith(b": "):
        pass
    assert world.events.followers == 1
    answer.close()
    await world.supervisor.say(execution.id, "image.pulling")
    await world.supervisor.end(execution.id, ExecutionState.FAILED)
    async with api.get(f"/v1/executions/{execution.id}/stream") as again:
        assert [event["kind"] for event in parse(await again.text())][-1] == "execution.failed"


async def test_a_client_that_leaves_with_the_final_event_is_no_fault_of_ours(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left = asyncio.Event()

    async def follow(execution_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        await left.wait()
        return
        yield  # a generator, of nothing more

    monkeypatch.setattr(world.events, "follow", follow)
    execution = await world.running_execution()
    headers = {"Authorization": f"Bearer {API_TOKEN}"}
    server = ApiServer(world.create(heartbeat_seconds=60), "127.0.0.1", 0)
    await server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}", headers=headers) as session:
        answer = await session.get(f"/v1/executions/{execution.id}/stream")
        serving = [each for each in asyncio.all_tasks() if "RequestHandler" in str(each.get_coro())]
        answer.close()
    connected = server._runner.server
    assert connected is not None and serving
    async with asyncio.timeout(5):
        while any(each.transport is not None for each in connected.connections):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
    left.set()
    await asyncio.wait(serving, timeout=5)
    await server.close()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
