"""What a chown that changes no owner still does: Squash over a directory of the host."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nfsd.vfs.conformance import settled
from nfsd.vfs.interface import Caller, Changes, CreateHow, Node
from nfsd.vfs.local import LocalFileSystem
from nfsd.vfs.squash import Squash

CALLER = Caller(1000, 1000)
TRIES = 10_000
CHANGES = [Changes(uid=1000, gid=1000), Changes(uid=1000), Changes(gid=1000), Changes(uid=4242)]


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[LocalFileSystem]:
    fs = LocalFileSystem(tmp_path, durability="host")
    yield fs
    await fs.close()


async def nodes(fs: Squash) -> list[Node]:
    """One of each kind a chown is sent for."""
    file, _ = await settled(fs.create(CALLER, fs.root, b"f", CreateHow.GUARDED, Changes(mode=0o644)))
    directory, _ = await settled(fs.mkdir(CALLER, fs.root, b"d", Changes(mode=0o755)))
    symlink, _ = await settled(fs.symlink(CALLER, fs.root, b"l", b"nowhere", Changes()))
    fifo, _ = await settled(fs.mknod(CALLER, fs.root, b"p", stat.S_IFIFO, Changes(mode=0o600)))
    return [file, directory, symlink, fifo]


@pytest.mark.parametrize("changes", CHANGES)
async def test_it_moves_ctime_and_only_that_for_every_kind(backend: LocalFileSystem, changes: Changes) -> None:
    fs = Squash(backend, 1000, 1000)
    for node in await nodes(fs):
        before = fs.getattr(node)
        after = before
        for _ in range(TRIES):  # a file system's clock ticks every 1 to 10 ms
            after = await settled(fs.setattr(CALLER, node, changes))
            if after.st_ctime_ns > before.st_ctime_ns:
                break
        assert after.st_ctime_ns > before.st_ctime_ns
        assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
        assert after.st_uid == os.geteuid()


@pytest.mark.parametrize("uid", [0, 1000])
async def test_it_takes_setuid_and_setgid_from_a_file_and_leaves_a_directorys(
    backend: LocalFileSystem, uid: int
) -> None:
    fs = Squash(backend, uid, uid)
    file, directory, *_ = await nodes(fs)
    for node in (file, directory):
        await settled(fs.setattr(CALLER, node, Changes(mode=0o6755)))
        await settled(fs.setattr(CALLER, node, Changes(uid=uid)))
    assert stat.S_IMODE(fs.getattr(file).st_mode) == 0o755
    assert stat.S_IMODE(fs.getattr(directory).st_mode) == 0o6755
