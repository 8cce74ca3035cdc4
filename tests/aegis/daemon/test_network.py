"""The containers' networks: how many there are, who is on which, and what listens there."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest
from aiohttp import web

from aegis.adapters.docker import DockerEngine
from aegis.adapters.proxy import ProxyServer
from aegis.config.load import read_config
from aegis.config.model import NodeConfig
from aegis.daemon import network as module
from aegis.daemon.network import ContainerNetworks, networks_wanted, subnets
from aegis.errors import Conflict, WorldError
from aegis.ids import new_id
from aegis.ports import NetworkInfo
from tests.support.way_out import WayOut


class Engine:
    """Gives each network the first candidate that nobody else has; the gateway is one of this host's own addresses."""

    def __init__(self, *taken: str) -> None:
        self.taken = list(taken)
        self.made: dict[str, dict[str, Any]] = {}
        self.removed: list[str] = []

    async def ensure_network(self, name: str, *, subnets: Sequence[str], **how: Any) -> NetworkInfo:
        found = self.made.get(name)
        if found is None:
            free = next(each for each in subnets if each not in self.taken)
            self.taken.append(free)
            found = self.made[name] = {"subnet": free, "gateway": f"127.0.0.{len(self.made) + 11}", **how}
        assert found["subnet"] in subnets
        return NetworkInfo(name, found["subnet"], found["gateway"])

    async def remove_network(self, name: str) -> None:
        self.removed.append(name)
        raise Conflict("containers are on it")


def config(**limits: Any) -> NodeConfig:
    text = f"api: {{listen: ['127.0.0.1:0'], listen_on_bridge: false}}\negress: {{port: 0}}\nlimits: {limits or '{}'}"
    return read_config(text, "test", {}, base_directory="/").config


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    yield Engine()


async def opened(engine: Engine, node: NodeConfig) -> ContainerNetworks:
    networks = ContainerNetworks(node, cast(DockerEngine, engine), ProxyServer(WayOut().gate), "node-1")
    await networks.open(web.Application())
    return networks


def test_a_subnet_is_cut_into_pieces_that_a_bridge_can_fill() -> None:
    assert [str(each) for each in subnets("10.97.0.0/20")] == [f"10.97.{third}.0/22" for third in (0, 4, 8, 12)]
    assert [str(each) for each in subnets("10.97.16.0/24")] == ["10.97.16.0/24"]
    assert len(subnets("10.0.0.0/8")) == 4 * module.NETWORKS_MAX


@pytest.mark.parametrize(
    ("executions", "pieces", "count"),
    [(1, 4, 1), (50, 4, 1), (250, 4, 1), (251, 4, 2), (500, 4, 2), (1000, 4, 4), (10_000, 4, 4), (10_000, 32, 8)],
)
def test_networks_are_a_handful_for_any_number_of_executions(executions: int, pieces: int, count: int) -> None:
    assert networks_wanted(executions, pieces) == count


async def test_an_executions_containers_are_always_on_the_same_network_and_all_are_spread_evenly(
    engine: Engine,
) -> None:
    networks = await opened(engine, config(executions_concurrent=500))
    ids = [new_id() for _ in range(2000)]
    places = Counter(networks.place(each).network for each in ids)
    assert set(places) == set(engine.made) == {"aegis", "aegis-2"}
    assert max(places.values()) < 1.2 * 1000
    assert [networks.place(each) for each in ids] == [networks.place(each) for each in ids]
    await networks.close()
    assert engine.removed == ["aegis", "aegis-2"]


async def test_every_network_is_internal_and_has_dispatch_and_proxy_on_its_own_gateway(engine: Engine) -> None:
    networks = await opened(engine, config(executions_concurrent=500))
    await networks.open(web.Application())  # as after an engine that went away in between
    places = {(place := networks.place(new_id())).network: place for _ in range(50)}
    for name, made in engine.made.items():
        place, gateway = places[name], made["gateway"]
        assert made["internal"] and made["labels"]["aegis.node_id"] == "node-1"
        assert place.orchestrator_url == f"http://{gateway}:0"
        assert place.proxy.partition(":")[0] == gateway and not place.proxy.endswith(":0")
        assert place.resolvers == ("127.0.0.1",)
    await networks.close()


async def test_a_piece_that_somebody_else_has_is_passed_over() -> None:
    engine = Engine("10.97.0.0/22", "10.97.8.0/22")
    networks = await opened(engine, config(executions_concurrent=500))
    assert [made["subnet"] for made in engine.made.values()] == ["10.97.4.0/22", "10.97.12.0/22"]
    await networks.close()


def test_before_the_engine_has_answered_there_is_no_place_and_that_may_pass() -> None:
    networks = ContainerNetworks(config(), cast(DockerEngine, Engine()), ProxyServer(WayOut().gate), "node-1")
    with pytest.raises(WorldError) as caught:
        networks.place(new_id())
    assert caught.value.retryable
