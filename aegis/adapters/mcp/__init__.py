"""Tool servers: child processes that speak the Model Context Protocol on their standard input and output.

https://modelcontextprotocol.io/specification (2025-06-18: lifecycle, stdio transport, tools, ping, cancellation).
"""

from __future__ import annotations

from aegis.adapters.mcp.server import Patience
from aegis.adapters.mcp.servers import McpServers
from aegis.adapters.mcp.settings import ServerSettings

__all__ = ["McpServers", "Patience", "ServerSettings"]
