"""nfsd as `aegis.ports.Gateway`: the only importer of nfsd."""

from __future__ import annotations

from pathlib import Path

from aegis.adapters.nfs.gateway import NfsGateway, OnEvents
from aegis.adapters.nfs.storage import Storage
from aegis.errors import WorldError
from nfsd.cli.state import StateError
from nfsd.cli.state import handle_secret as _handle_secret
from nfsd.server.selector import polling_loop_factory
from nfsd.vfs.descriptors import raise_descriptor_limit

__all__ = ["NfsGateway", "OnEvents", "Storage", "handle_secret", "polling_loop_factory", "raise_descriptor_limit"]


def handle_secret(state_directory: Path) -> bytes:
    """What signs the file handles: read from the state directory, made (mode 0600) when it is not there.

    WorldError when it cannot be used, or others could read it: handles it signed are then anyone's.
    """
    try:
        return _handle_secret(state_directory)
    except StateError as error:
        raise WorldError(str(error), retryable=False) from error
