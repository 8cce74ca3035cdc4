"""The contract suite on every backend, bare and under the full stack."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nfsd.vfs.conformance_names import FileSystemContract
from nfsd.vfs.interface import FileSystem
from nfsd.vfs.ledger import Ledger
from nfsd.vfs.local import LocalFileSystem
from nfsd.vfs.memory import MemoryFileSystem
from nfsd.vfs.records import Record
from nfsd.vfs.stack import MappedFor, SquashTo, build_stack

TMPFS = Path("/dev/shm")  # a file system of another kind than the disk's: no RWF_NOWAIT


def backend(kind: str, root: Path) -> FileSystem:
    if kind == "memory":
        return MemoryFileSystem()
    root.mkdir()
    return LocalFileSystem(root, durability="stable" if "stable" in kind else "host", descriptors_max=16)


@pytest.fixture(params=["memory", "local-host", "local-stable", "tmpfs-host"])
async def volume(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FileSystem]:
    kind: str = request.param
    if not kind.startswith("tmpfs"):
        fs = backend(kind, tmp_path / "volume")
        yield fs
        await fs.close()
        return
    root = TMPFS / f"nfsd-contract-{os.getpid()}"
    fs = backend(kind, root)
    yield fs
    await fs.close()
    shutil.rmtree(root)


class TestBackend(FileSystemContract):
    @pytest.fixture(autouse=True)
    async def _mount(self, volume: FileSystem) -> None:
        self.fs = volume


class TestMapped(FileSystemContract):
    @pytest.fixture(autouse=True)
    async def _mount(self, volume: FileSystem) -> None:
        self.fs = build_stack(volume, identity=MappedFor(self.caller.uid, self.caller.gid), ledger=Ledger(1 << 30))


class TestFullStack(FileSystemContract):
    @pytest.fixture(autouse=True)
    async def _mount(self, volume: FileSystem) -> None:
        self.records: list[Record] = []
        self.fs = build_stack(
            volume,
            identity=SquashTo(1000, 1000),
            read=["/**"],
            write=["/**"],
            ledger=Ledger(1 << 30, 100_000),
            sink=self.records.extend,
        )
