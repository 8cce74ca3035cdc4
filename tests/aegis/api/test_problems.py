from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import aiohttp
import pytest

from aegis.api import ApiServer, routing
from aegis.errors import DockerUnavailable, ImageNotFound
from tests.support.small_world import API_TOKEN, World


async def test_an_unknown_route_and_a_wrong_method_are_problems_too(api: aiohttp.ClientSession) -> None:
    async with api.get("/v2/agents") as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "no_such_route")
    async with api.put("/v1/agents") as answer:
        problem = await answer.json()
    assert (answer.status, problem["code"]) == (405, "method_not_allowed")
    assert "GET,POST" in problem["detail"].replace(" ", "").replace("HEAD,", "")


@pytest.mark.parametrize(
    ("error", "status", "retryable", "retry_after"),
    [(DockerUnavailable("no socket"), 503, True, "2"), (ImageNotFound("no image"), 422, False, None)],
)
async def test_a_foreign_systems_fault_says_whether_to_try_again(
    api: aiohttp.ClientSession, world: World, error: Exception, status: int, retryable: bool, retry_after: str | None
) -> None:
    async def start(*_: object) -> object:
        raise error

    world.supervisor.start = start  # type: ignore[assignment, method-assign]
    await api.post("/v1/agents", data="name: greeter")
    async with api.post("/v1/executions", json={"agent": "greeter"}) as answer:
        problem = await answer.json()
    assert (answer.status, problem["retryable"], answer.headers.get("Retry-After")) == (status, retryable, retry_after)


async def test_a_fault_of_ours_is_logged_whole_and_told_without_its_inside(
    api: aiohttp.ClientSession, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> object:
        raise RuntimeError("password=hunter2")

    world.store.list_agents = broken  # type: ignore[assignment, method-assign]
    with caplog.at_level(logging.ERROR):
        async with api.get("/v1/agents") as answer:
            text = await answer.text()
    assert answer.status == 500
    assert "hunter2" not in text
    assert "hunter2" in caplog.text


async def test_a_body_that_stops_coming_is_a_timeout_and_may_be_sent_again(
    api: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "BODY_SECONDS", 0.05)
    never = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b"name: "
        await never.wait()

    async with api.post("/v1/agents", data=stalled()) as answer:
        assert (answer.status, (await answer.json())["code"]) == (408, "body_timeout")


async def test_a_peer_that_leaves_in_the_middle_of_its_body_is_no_fault_of_ours(
    server: ApiServer, api: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    head = f"POST /v1/agents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_TOKEN}\r\nContent-Length: 99\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head.encode() + b"name: x")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await reader.read()
    async with api.get("/health/live") as answer:
        assert answer.status == 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
