"""Several tenants on one node: each sees and makes its own, and nothing tells it of the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp.test_utils import TestClient, TestServer

from aegis.api.auth import ApiTokens
from aegis.errors import Refused
from tests.support.small_world import API_TOKEN, World

ACME, GLOBEX = "a" * 20, "g" * 20
WORK = {"name": "work", "storage_class": "persistent"}
TOKENS = {"acme": [ACME, "another-token-of-acme"], "globex": [GLOBEX]}


@asynccontextmanager
async def served(world: World) -> AsyncIterator[TestClient]:  # type: ignore[type-arg]
    async with TestClient(TestServer(world.create(tenant_tokens=TOKENS))) as client:
        yield client


def by(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def names(client: TestClient, token: str) -> list[str]:  # type: ignore[type-arg]
    async with client.get("/v1/agents", headers=by(token)) as answer:
        assert answer.status == 200
        return [each["name"] for each in (await answer.json())["items"]]


async def test_what_one_tenant_makes_no_other_sees(world: World) -> None:
    async with served(world) as client:
        for token in (ACME, GLOBEX, API_TOKEN):  # one name, three agents
            async with client.post("/v1/agents", headers=by(token), data=b"name: greeter") as answer:
                assert answer.status == 201
        assert await names(client, ACME) == await names(client, GLOBEX) == await names(client, API_TOKEN) == ["greeter"]
        assert await names(client, "another-token-of-acme") == ["greeter"]
        async with client.post("/v1/executions", headers=by(ACME), json={"agent": "greeter", "input": ""}) as answer:
            execution = (await answer.json())["id"]
        started = await world.store.get_execution(execution)
        assert started.tenant_id == "acme"
        async with client.post("/v1/volumes", headers=by(ACME), json=WORK) as it:
            volume = (await it.json())["id"]
        async with client.delete("/v1/agents/greeter", headers=by(GLOBEX)) as answer:
            assert answer.status == 204
        assert await names(client, ACME) == ["greeter"]
        for token, status in ((ACME, 200), (GLOBEX, 404), (API_TOKEN, 404)):
            paths = (f"/v1/executions/{execution}", f"/v1/executions/{execution}/events", f"/v1/volumes/{volume}")
            for path in paths:
                async with client.get(path, headers=by(token)) as answer:
                    assert answer.status == status, path
        for path in (f"/v1/executions/{execution}/stream", f"/v1/executions/{execution}/record"):
            async with client.get(path, headers=by(GLOBEX)) as answer:
                assert answer.status == 404, path
        async with client.post(f"/v1/executions/{execution}/cancel", headers=by(GLOBEX)) as answer:
            assert answer.status == 404
        async with client.delete(f"/v1/volumes/{volume}", headers=by(GLOBEX)) as answer:
            assert answer.status == 404


async def test_what_is_the_whole_nodes_no_tenant_sees(world: World) -> None:
    async with served(world) as client:
        calls: list[tuple[str, str, object]] = [("GET", "/metrics", None), ("POST", "/v1/bundles", {"agents": []})]
        for method, path, body in calls:
            async with client.request(method, path, headers=by(ACME), json=body) as answer:
                assert answer.status == 403, await answer.text()
                assert "tenant acme's" in (await answer.json())["detail"]
        async with client.get("/metrics", headers=by(API_TOKEN)) as answer:
            assert answer.status == 200
    assert not ApiTokens([API_TOKEN], TOKENS).accept(ACME)  # who may read why a dependency is down


@pytest.mark.parametrize(
    ("node", "tenants", "says"),
    [
        ([API_TOKEN], {"acme": ["short"]}, "api.tenants.acme.tokens"),
        ([API_TOKEN], {"acme": [ACME], "globex": [GLOBEX, ACME]}, "api.tenants.globex.tokens is somebody else's"),
        ([API_TOKEN], {"acme": [API_TOKEN]}, "api.tenants.acme.tokens is somebody else's"),
    ],
)
def test_a_token_that_says_nothing_certain_is_refused(
    node: list[str], tenants: dict[str, list[str]], says: str
) -> None:
    with pytest.raises(Refused) as refused:
        ApiTokens(node, tenants)
    assert says in refused.value.message + refused.value.next_step
