"""Group commit: who waits for which flush, and what a failed one does."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nfsd.vfs.conformance import failing, settled
from nfsd.vfs.interface import NO_CHANGES, Caller, CreateHow, Later, Stability
from nfsd.vfs.local import LocalFileSystem

CALLER = Caller(0, 0)
PATIENCE_SECONDS = 20.0  # only a failing test waits so long


class Disk:
    """Flushes that end when they are told to, and can fail. Counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.flushes = 0
        self.fails = 0
        self._started = threading.Semaphore(0)
        self._may_end = threading.Semaphore(0)
        self.held = False
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._flush)

    def _flush(self, _fd: int) -> None:
        self.flushes += 1
        self._started.release()
        if self.held:
            self._may_end.acquire(timeout=PATIENCE_SECONDS)
        if self.fails:
            self.fails -= 1
            raise OSError(errno.EIO, "the disk is broken")

    async def started(self) -> None:
        begun = asyncio.get_running_loop().run_in_executor(None, self._started.acquire, True, PATIENCE_SECONDS)
        assert await begun, "no flush was begun"

    def end_one(self) -> None:
        self._may_end.release()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
async def fs(tmp_path: Path) -> AsyncIterator[LocalFileSystem]:
    fs = LocalFileSystem(tmp_path, durability="stable")
    yield fs
    await fs.close()


async def test_who_comes_during_a_flush_shares_the_next_one(fs: LocalFileSystem, disk: Disk) -> None:
    node, _ = await settled(fs.create(CALLER, fs.root, b"f", CreateHow.GUARDED, NO_CHANGES))
    await disk.started()
    disk.flushes, disk.held = 0, True
    first = asyncio.ensure_future(waiting(fs.commit(CALLER, node, 0, 0)))
    await disk.started()
    others = [asyncio.ensure_future(waiting(fs.commit(CALLER, node, 0, 0))) for _ in range(10)]
    writes = [asyncio.ensure_future(waiting(fs.write(CALLER, node, 0, b"x", Stability.FILE_SYNC))) for _ in range(10)]
    await asyncio.sleep(0)
    disk.end_one()
    await first
    await disk.started()
    assert not any(task.done() for task in others + writes)
    disk.end_one()
    await asyncio.gather(*others, *writes)
    assert disk.flushes == 2


async def waiting(result: object) -> object:
    assert isinstance(result, Later)
    return await result


async def test_a_failed_flush_is_told_to_all_and_changes_the_verifier(
    fs: LocalFileSystem, disk: Disk, tmp_path: Path
) -> None:
    node, _ = await settled(fs.create(CALLER, fs.root, b"f", CreateHow.GUARDED, NO_CHANGES))
    await disk.started()
    before = fs.write_verifier
    disk.held, disk.fails = True, 1
    first = fs.commit(CALLER, node, 0, 0)
    await disk.started()
    second = fs.write(CALLER, node, 0, b"x", Stability.DATA_SYNC)
    disk.end_one()
    await failing(errno.EIO, lambda: first)
    await failing(errno.EIO, lambda: second)
    changed = fs.write_verifier
    assert changed != before
    disk.held = False
    await settled(fs.commit(CALLER, node, 0, 0))
    assert fs.write_verifier == changed
    later = LocalFileSystem(tmp_path, durability="stable")
    assert later.write_verifier == changed, "the old verifier must not come back with a restart"
    await later.close()


async def test_names_are_answered_when_they_are_durable_and_flushes_are_shared(fs: LocalFileSystem, disk: Disk) -> None:
    disk.held = True
    first = fs.create(CALLER, fs.root, b"0", CreateHow.GUARDED, NO_CHANGES)
    await disk.started()
    others = [fs.create(CALLER, fs.root, b"%d" % index, CreateHow.GUARDED, NO_CHANGES) for index in range(1, 20)]
    assert all(type(result) is Later for result in (first, *others))
    assert fs.lookup(CALLER, fs.root, b"19")
    disk.held = False
    disk.end_one()
    for result in (first, *others):
        await settled(result)
    assert disk.flushes == 2


async def test_nobody_listening_does_not_stop_a_flush(fs: LocalFileSystem, disk: Disk) -> None:
    node, _ = await settled(fs.create(CALLER, fs.root, b"f", CreateHow.GUARDED, NO_CHANGES))
    await disk.started()
    disk.held = True
    told: list[object] = []
    result = fs.commit(CALLER, node, 0, 0)
    assert isinstance(result, Later)
    task = asyncio.ensure_future(waiting(result.then(told.append)))
    await disk.started()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    disk.end_one()
    await fs.close()
    assert told == [None]


async def test_host_durability_flushes_nothing(tmp_path: Path, disk: Disk) -> None:
    fs = LocalFileSystem(tmp_path, durability="host")
    node, _ = await settled(fs.create(CALLER, fs.root, b"f", CreateHow.GUARDED, NO_CHANGES))
    assert fs.write(CALLER, node, 0, b"x", Stability.UNSTABLE) == Stability.FILE_SYNC
    assert fs.commit(CALLER, node, 0, 0) is None
    assert fs.remove(CALLER, fs.root, b"f") is not None
    assert disk.flushes == 0
    await fs.close()


async def test_a_write_that_opens_the_file_anew_during_a_flush_is_flushed_itself(
    fs: LocalFileSystem, disk: Disk
) -> None:
    node, _ = await settled(fs.create(CALLER, fs.root, b"f", CreateHow.GUARDED, NO_CHANGES))
    await disk.started()
    fs.descriptors.drop(node)  # as the cache does with writers nobody used for a while
    await settled(fs.read(CALLER, node, 0, 1))
    assert not node.writable
    disk.flushes, disk.held = 0, True
    commit = asyncio.ensure_future(waiting(fs.commit(CALLER, node, 0, 0)))
    await disk.started()
    write = asyncio.ensure_future(waiting(fs.write(CALLER, node, 0, b"x", Stability.FILE_SYNC)))
    await asyncio.sleep(0)
    assert node.writable
    disk.end_one()
    await commit
    await disk.started()
    assert not write.done()
    disk.end_one()
    await write
    assert disk.flushes == 2


async def test_names_that_are_made_are_answered_however_full_the_pool_is(fs: LocalFileSystem) -> None:
    fs.pool._pending_max = 0
    node, _ = await settled(fs.mkdir(CALLER, fs.root, b"d", NO_CHANGES))
    await settled(fs.rename(CALLER, fs.root, b"d", fs.root, b"e"))
    assert fs.path(node) == b"e"
