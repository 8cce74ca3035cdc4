from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from aegis.api import ApiServer
from aegis.api import health as health_module
from aegis.errors import DatabaseUnavailable, ToolServerFailed
from tests.support.small_world import World


async def lines(answer: aiohttp.ClientResponse) -> dict[str, dict[str, object]]:
    return {line["dependency"]: line for line in map(json.loads, (await answer.text()).splitlines())}


async def test_live_answers_whatever_is_down(anonymous: aiohttp.ClientSession, world: World) -> None:
    world.down["database"] = DatabaseUnavailable("gone")
    async with anonymous.get("/health/live") as answer:
        assert answer.status == 200


async def test_ready_has_a_line_for_each_dependency(anonymous: aiohttp.ClientSession) -> None:
    async with anonymous.get("/health/ready") as answer:
        assert answer.status == 200
        assert {name: line["ok"] for name, line in (await lines(answer)).items()} == {
            "docker": True,
            "nfs": True,
            "database": True,
        }


async def test_one_dependency_down_is_503_with_its_reason_and_the_others_state(
    anonymous: aiohttp.ClientSession, world: World
) -> None:
    world.down["database"] = DatabaseUnavailable("The database does not answer", next_step="systemctl start postgresql")
    async with anonymous.get("/health/ready") as answer:
        found = await lines(answer)
    assert answer.status == 503
    assert found["docker"]["ok"] is True
    assert found["database"]["code"] == "database_unavailable"
    assert found["database"]["next_step"] == "systemctl start postgresql"
    async with anonymous.get("/health") as answer:
        assert (await answer.json())["status"] == "degraded"


async def test_a_stranger_learns_which_dependency_is_down_and_not_why() -> None:
    view = health_module.DependencyView(
        dependency="d", ok=False, duration_ms=1, code="c", detail="/secret", next_step="x"
    )
    request = type("Request", (), {"remote": "203.0.113.7", "headers": {}})()
    (shown,) = health_module.Health({}, None).shown_to(request, [view])
    assert (shown.code, shown.detail, shown.next_step) == ("c", "", "")


async def test_a_check_that_hangs_or_breaks_is_that_dependencys_fault_alone(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(health_module, "CHECK_SECONDS", 0.05)

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def breaks() -> None:
        raise KeyError("oops")

    async def fine() -> None: ...

    health = health_module.Health({"hangs": hangs, "breaks": breaks, "fine": fine}, None)
    found = {view.dependency: view.code for view in await health.dependencies()}
    assert found == {"hangs": "timeout", "breaks": "internal", "fine": ""}


async def test_many_askers_share_one_round_of_checks() -> None:
    rounds = 0

    async def check() -> None:
        nonlocal rounds
        rounds += 1
        await asyncio.sleep(0)

    health = health_module.Health({"it": check}, None)
    await asyncio.gather(*(health.dependencies() for _ in range(20)))
    assert rounds == 1


async def test_metrics_count_by_pattern_and_not_by_path(api: aiohttp.ClientSession) -> None:
    for name in ("a", "b"):
        async with api.get(f"/v1/agents/{name}"):
            pass
    async with api.get("/nowhere"):
        pass
    async with api.get("/metrics") as answer:
        text = await answer.text()
    assert 'aegis_api_requests_total{method="GET",route="/v1/agents/{agent}",status="404"} 2.0' in text
    assert "/v1/agents/a" not in text
    assert "/nowhere" not in text


async def test_a_port_that_is_taken_is_named_with_what_to_do(world: World, server: ApiServer) -> None:
    second = ApiServer(world.create(), "127.0.0.1", server.port)
    with pytest.raises(Exception, match=r"cannot listen on 127.0.0.1:\d+.*ss -ltnp"):
        await second.start()


async def test_a_check_that_is_added_later_counts() -> None:
    checks: dict[str, object] = {}
    health = health_module.Health(checks, None)  # type: ignore[arg-type]

    async def check() -> None: ...

    checks["late"] = check
    assert [view.dependency for view in await health.dependencies()] == ["late"]


async def test_what_the_node_is_ready_without_is_shown_and_does_not_count(world: World) -> None:
    async def away() -> None:
        raise ToolServerFailed("Tool server notes has ended (exit code 1)")

    server = ApiServer(world.create(optional_checks={"tool server notes": away}), "127.0.0.1", 0)
    await server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        async with session.get("/health/ready") as answer:
            assert answer.status == 200
            found = (await lines(answer))["tool server notes"]
        async with session.get("/health") as answer:
            assert (await answer.json())["status"] == "ok"
    await server.close()
    assert (found["ok"], found["optional"], found["code"]) == (False, True, "tool_server_failed")
    assert found["detail"] == "Tool server notes has ended (exit code 1)"
