"""The containers' networks, and the listeners on them: what containers may reach of us, and nothing else of the API.

A few networks carry all containers of the node, however many executions there are: a bridge takes 1,023 of them
(BR_MAX_PORTS), and an execution's are always put on the same one, chosen by its id. Each is a piece of the configured
subnet, `internal` (no route and no forwarding beyond the engine's host), and keeps containers from each other.

The rule to know: an internal network does not keep a container from the host itself. Whatever listens on the gateway's
address, or on every address, can be reached there; of ours that is the dispatch listener and the proxy, which ask for
credentials, and the NFS gateway, which refuses who is not the host.
"""

from __future__ import annotations

import logging
from ipaddress import IPv4Network
from zlib import crc32

from aiohttp import web

from aegis.adapters.docker import DockerEngine
from aegis.adapters.proxy import ProxyServer
from aegis.api.app import create_dispatch_app
from aegis.api.server import ApiServer
from aegis.config.model import NodeConfig
from aegis.domain.labels import MANAGED, NODE_ID
from aegis.errors import AegisError, WorldError
from aegis.ports import NetworkInfo
from aegis.services.containers import Place

log = logging.getLogger(__name__)

NETWORKS_MAX = 8
PIECE_PREFIX = 22  # of a network's addresses: 1,021 hosts, about what its bridge takes
CONTAINERS_PLANNED = 500  # on each network; half of what it takes, for ids do not fall evenly
CONTAINERS_PER_EXECUTION = 2  # the running one, and a validator's or the next iteration's

# Asked from within the container, where nothing listens: a name fails at once. The engine's own choice would be a way
# out: before 25.0.5 dockerd asked the host's name servers even for an internal network (CVE-2024-29018).
NO_RESOLVER = ("127.0.0.1",)


class ContainerNetworks:
    """`open` may be repeated until it works; `place` works after it; `close` removes networks without containers."""

    def __init__(self, config: NodeConfig, engine: DockerEngine, proxy: ProxyServer, node_id: str) -> None:
        self._config = config
        self._engine = engine
        self._proxy = proxy
        self._node_id = node_id
        self._places: list[Place] = []
        self._made: list[str] = []
        self._dispatch: dict[str, ApiServer] = {}  # by the address
        self._proxies: dict[str, int] = {}  # address -> port

    def place(self, execution_id: str) -> Place:
        """Where an execution's containers are put, always the same. WorldError before the networks are there."""
        if not self._places:
            raise WorldError("the containers' networks are not there yet", next_step="See `aegis daemon status`")
        return self._places[crc32(execution_id.encode()) % len(self._places)]

    async def open(self, app: web.Application) -> None:
        """The networks are there, and containers on them can call us. WorldError, Conflict when they cannot."""
        pieces = [str(piece) for piece in subnets(self._config.runtime.network_subnet)]
        count = networks_wanted(self._config.limits.executions_concurrent, len(pieces))
        places = []
        for number in range(1, count + 1):
            network = await self._network(number, pieces)
            pieces.remove(network.subnet)
            places.append(await self._listen(network, app))
        if not self._config.runtime.network_internal:
            log.warning(
                "runtime.network_internal is false: a container that does not use the proxy reaches whatever the host "
                "does, whatever its network policy says"
            )
        self._places = places

    async def close(self) -> None:
        for server in self._dispatch.values():
            await server.close()
        self._dispatch.clear()
        await self._proxy.close()
        for name in self._made:
            try:
                await self._engine.remove_network(name)
            except AegisError as error:  # another daemon's containers are on it, or the engine is away
                log.info("the containers' network %s stays: %s", name, error)

    async def _network(self, number: int, pieces: list[str]) -> NetworkInfo:
        name = self._config.runtime.network_name + (f"-{number}" if number > 1 else "")
        network = await self._engine.ensure_network(
            name,
            internal=self._config.runtime.network_internal,
            labels={MANAGED: "true", NODE_ID: self._node_id},
            subnets=pieces,
        )
        if name not in self._made:
            self._made.append(name)
        return network

    async def _listen(self, network: NetworkInfo, app: web.Application) -> Place:
        config = self._config
        port = config.api.listen[0].port
        if config.api.listen_on_bridge and network.gateway not in self._dispatch:
            server = ApiServer(create_dispatch_app(app), network.gateway, port)
            await server.start()
            self._dispatch[network.gateway] = server
        listen = config.egress.listen
        host, wanted = (listen.host, listen.port) if listen is not None else (network.gateway, config.egress.port)
        if host not in self._proxies:
            self._proxies[host] = await self._proxy.listen(host, wanted)
        shown = f"[{host}]" if ":" in host else host
        return Place(
            network=network.name,
            orchestrator_url=config.runtime.orchestrator_url or f"http://{network.gateway}:{port}",
            proxy=f"{shown}:{self._proxies[host]}",
            resolvers=NO_RESOLVER if config.runtime.network_internal else (),
        )


def subnets(whole: str) -> list[IPv4Network]:
    """The pieces of the configured subnet, one a network; a small subnet is its only piece."""
    network = IPv4Network(whole)
    if network.prefixlen >= PIECE_PREFIX:
        return [network]
    pieces = network.subnets(new_prefix=PIECE_PREFIX)
    return [piece for piece, _ in zip(pieces, range(4 * NETWORKS_MAX), strict=False)]  # some may be taken by others


def networks_wanted(executions_concurrent: int, pieces: int) -> int:
    """How many networks carry the containers of so many executions; fewer where there is no more room."""
    containers = executions_concurrent * CONTAINERS_PER_EXECUTION
    wanted = -(-containers // CONTAINERS_PLANNED)
    count = max(1, min(wanted, pieces, NETWORKS_MAX))
    if count < wanted:
        log.warning(
            "limits.executions_concurrent is %d, which wants %d networks; there is room for %d: set a larger "
            "runtime.network_subnet (a /%d each, at most %d)",
            *(executions_concurrent, wanted, count, PIECE_PREFIX, NETWORKS_MAX),
        )
    return count
