"""The HTTP API: agents, executions, volumes, health, and the dispatch gateway for containers."""

from __future__ import annotations

from aegis.api.app import create_app, create_dispatch_app
from aegis.api.auth import ensure_token_file, token_hash
from aegis.api.server import ApiServer

__all__ = ["create_app", "create_dispatch_app", "ApiServer", "ensure_token_file", "token_hash"]
