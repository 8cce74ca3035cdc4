"""The containers' network, and the listener on it: what containers may reach of us, and nothing else of the API."""

from __future__ import annotations

import logging

from aiohttp import web

from aegis.adapters.docker import DockerEngine
from aegis.api.app import create_dispatch_app
from aegis.api.server import ApiServer
from aegis.config.model import NodeConfig
from aegis.daemon import parts
from aegis.domain.labels import MANAGED, NODE_ID
from aegis.errors import AegisError, WorldError

log = logging.getLogger(__name__)


class ContainerNetwork:
    """One user-defined bridge for all containers of the node. `open` may be repeated; `close` removes the network when
    no container is on it."""

    def __init__(self, config: NodeConfig, engine: DockerEngine, app: web.Application, node_id: str) -> None:
        self._config = config
        self._engine = engine
        self._app = app
        self._node_id = node_id
        self._server: ApiServer | None = None
        self._made = False

    async def open(self) -> None:
        """The network is there, and containers on it can call us. WorldError, Conflict when they cannot."""
        name = self._config.runtime.network_name
        network = await self._engine.ensure_network(
            name,
            internal=False,
            labels={MANAGED: "true", NODE_ID: self._node_id},
            subnets=[self._config.runtime.network_subnet],
        )
        self._made = True
        expected = parts.bridge_address(self._config)
        if network.gateway != expected:
            raise WorldError(
                f"network {name} has the gateway {network.gateway}; {expected} is wanted",
                next_step=f"Remove it (docker network rm {name}) or set runtime.network_subnet to {network.subnet}",
                retryable=False,
            )
        if self._config.api.listen_on_bridge and self._server is None:
            server = ApiServer(create_dispatch_app(self._app), network.gateway, self._config.api.listen[0].port)
            await server.start()
            self._server = server

    async def close(self) -> None:
        if self._server is not None:
            await self._server.close()
            self._server = None
        if self._made:
            try:
                await self._engine.remove_network(self._config.runtime.network_name)
            except AegisError as error:  # another daemon's containers are on it, or the engine is away
                log.info("the containers' network stays: %s", error)
