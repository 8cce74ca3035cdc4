"""One export on a temporary directory, and a client that has mounted it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nfsd.exports import Export
from tests.support.peer import Peer
from tests.support.served import Served, local


@dataclass
class Mounted:
    """`root` is the export's handle, `path` the directory behind it on the host."""

    served: Served
    export: Export
    peer: Peer
    root: bytes
    path: Path


@pytest.fixture(params=["host", "stable"])
def nfs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mounted]:
    """Both durabilities: one answers at once, the other's answers wait for the disk."""
    volume = tmp_path / "volume"
    volume.mkdir()
    with Served() as served:
        export = served.attach(lambda: local(volume, request.param))
        peer = served.peer()
        yield Mounted(served, export, peer, peer.mount(b"/t/v"), volume)
