from __future__ import annotations

import io

import aiohttp

from tests.support.small_world import World


async def test_a_deployed_agent_is_listed_shown_and_removed(api: aiohttp.ClientSession) -> None:
    async with api.post("/v1/agents", data="name: greeter\n") as answer:
        assert answer.status == 201
        deployed = await answer.json()
    assert deployed["manifest"]["runtime"]["image"] == "busybox"
    async with api.get("/v1/agents") as answer:
        assert [item["id"] for item in (await answer.json())["items"]] == [deployed["id"]]
    async with api.get("/v1/agents/greeter") as answer:
        assert (await answer.json()) == deployed
    async with api.delete(f"/v1/agents/{deployed['id']}") as answer:
        assert answer.status == 204
    async with api.get("/v1/agents/greeter") as answer:
        assert answer.status == 404
        assert (await answer.json())["code"] == "not_found"


async def test_a_bad_manifest_answers_every_problem_with_its_place(api: aiohttp.ClientSession, world: World) -> None:
    async with api.post("/v1/agents", data="nothing: here\n") as answer:
        problem = await answer.json()
    assert (answer.status, answer.content_type) == (422, "application/problem+json")
    assert problem["code"] == "invalid_manifest"
    assert problem["problems"][0]["line"] == 1
    assert world.store.agents == []


async def test_a_manifest_that_is_not_utf8_is_refused_with_the_byte(api: aiohttp.ClientSession) -> None:
    async with api.post("/v1/agents", data=b"name: \xff") as answer:
        assert answer.status == 400
        assert "byte 6" in (await answer.json())["detail"]


async def test_a_manifest_over_its_bound_is_refused_before_it_is_read(api: aiohttp.ClientSession) -> None:
    async with api.post("/v1/agents", data=io.BytesIO(b"#" * (1024 * 1024 + 1))) as answer:
        assert answer.status == 413
        assert (await answer.json())["code"] == "too_large"


async def test_a_body_of_undeclared_length_is_counted_while_it_comes(api: aiohttp.ClientSession) -> None:
    async def endless() -> object:
        for _ in range(64):
            yield b"#" * 65536

    async with api.post("/v1/agents", data=endless()) as answer:
        assert answer.status == 413
