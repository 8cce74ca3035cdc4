"""All tool servers of the node: the `ToolServers` port. A tool's name here is `server.tool`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aegis.adapters.mcp.server import Patience, ToolServer
from aegis.adapters.mcp.settings import ServerSettings
from aegis.ports import HealthCheck, ToolAnswer, ToolSpec


class McpServers:
    def __init__(self, settings: Iterable[ServerSettings], patience: Patience | None = None) -> None:
        self._servers = {each.name: ToolServer(each, patience or Patience()) for each in settings}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """They are started, all at once and without waiting for any; after the block none of their processes runs."""
        tasks = [
            asyncio.create_task(server.run(), name=f"tool server {name}") for name, server in self._servers.items()
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def server(self, name: str) -> ToolServer:
        return self._servers[name]

    def checks(self) -> dict[str, HealthCheck]:
        return {f"tool server {name}": server.check for name, server in self._servers.items()}

    def tools(self) -> Sequence[ToolSpec]:
        return [
            ToolSpec(f"{name}.{tool.name}", tool.description, tool.schema)
            for name, server in self._servers.items()
            for tool in server.tools
        ]

    async def call(self, name: str, arguments: Mapping[str, Any]) -> ToolAnswer:
        server, _, tool = name.partition(".")
        return await self._servers[server].call(tool, arguments)
