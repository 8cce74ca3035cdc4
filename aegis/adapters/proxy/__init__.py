"""The forward proxy through which agents' containers reach the world (ADR 12): HTTP/1.1 and CONNECT."""

from aegis.adapters.proxy.dial import SystemResolver, is_own
from aegis.adapters.proxy.server import ProxyServer

__all__ = ["ProxyServer", "SystemResolver", "is_own"]
