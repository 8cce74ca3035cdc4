"""The orchestrator: runs AI agents in throw-away containers on a workspace that it serves itself."""

from aegis.version import VERSION as __version__

__all__ = ["__version__"]
