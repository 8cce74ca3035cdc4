"""The ledger is exact: under errors, under waiting, whatever the order; and over it nothing changes."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfsd.vfs.conformance import failing, settled
from nfsd.vfs.interface import NO_CHANGES, Caller, Changes, CreateHow, Later, Node, Stability
from nfsd.vfs.ledger import Ledger, measure
from nfsd.vfs.local import LocalFileSystem
from nfsd.vfs.memory import MemoryFileSystem
from nfsd.vfs.quota import Quota

CALLER = Caller(1000, 1000)
LIMIT = 1000


@pytest.fixture
async def fs(tmp_path: Path) -> AsyncIterator[Quota]:
    quota = Quota(LocalFileSystem(tmp_path, durability="host"), Ledger(LIMIT, 10))
    yield quota
    await quota.close()


async def made(fs: Quota, name: bytes, size: int = 0) -> Node:
    how = CreateHow.GUARDED
    return (await settled(fs.create(CALLER, fs.root, name, how, Changes(mode=0o600, size=size or None))))[0]


async def test_over_the_limit_nothing_changes(tmp_path: Path) -> None:
    ledger = Ledger(LIMIT, 3)
    fs = Quota(LocalFileSystem(tmp_path, durability="host"), ledger)
    node = await made(fs, b"f", 900)
    write, root = fs.write, fs.root
    await failing(errno.ENOSPC, lambda: write(CALLER, node, 900, bytes(101), Stability.UNSTABLE))
    await failing(errno.ENOSPC, lambda: fs.setattr(CALLER, node, Changes(size=1001)))
    await failing(errno.ENOSPC, lambda: fs.symlink(CALLER, root, b"s", b"x" * 101, NO_CHANGES))
    await failing(errno.ENOSPC, lambda: fs.create(CALLER, root, b"g", CreateHow.GUARDED, Changes(size=101)))
    assert (ledger.bytes_used, ledger.files_used) == (900, 1)
    assert os.listdir(tmp_path) == ["f"]
    assert fs.getattr(node).st_size == 900
    await settled(write(CALLER, node, 0, bytes(900), Stability.UNSTABLE))  # overwriting costs nothing
    await settled(write(CALLER, node, 900, bytes(100), Stability.UNSTABLE))
    await settled(fs.mkdir(CALLER, root, b"d", NO_CHANGES))
    await settled(fs.mknod(CALLER, root, b"p", stat.S_IFIFO, NO_CHANGES))
    await failing(errno.ENOSPC, lambda: fs.mkdir(CALLER, root, b"e", NO_CHANGES))
    await settled(fs.rmdir(CALLER, root, b"d"))
    await settled(fs.remove(CALLER, root, b"f"))
    assert (ledger.bytes_used, ledger.files_used) == (0, 1)
    await fs.close()


async def test_statistics_show_the_limit(fs: Quota) -> None:
    await made(fs, b"f", 400)
    found = fs.statistics()
    assert (found.bytes_total, found.bytes_available, found.bytes_free) == (1000, 600, 600)
    assert (found.files_total, found.files_available) == (10, 9)


async def test_space_comes_back_with_the_last_name_only(tmp_path: Path) -> None:
    ledger = Ledger(LIMIT)
    fs = Quota(LocalFileSystem(tmp_path, durability="stable"), ledger)
    node = await made(fs, b"f", 400)
    await settled(fs.link(CALLER, node, fs.root, b"g"))
    await settled(fs.remove(CALLER, fs.root, b"f"))
    assert ledger.bytes_used == 400
    await made(fs, b"h", 50)
    await settled(fs.rename(CALLER, fs.root, b"h", fs.root, b"g"))
    assert ledger.bytes_used == 50
    await fs.close()


async def test_a_limit_below_what_is_used_still_lets_go(fs: Quota) -> None:
    ledger = Ledger(LIMIT)
    fs = Quota(MemoryFileSystem(), ledger)
    node = await made(fs, b"f", 900)
    ledger.bytes_max = 10
    await settled(fs.setattr(CALLER, node, Changes(size=800)))
    await settled(fs.write(CALLER, node, 0, b"x", Stability.UNSTABLE))
    assert fs.statistics().bytes_available == 0
    assert ledger.bytes_used == 800


async def test_a_write_that_fails_half_way_is_counted_as_far_as_it_got(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(LIMIT)
    fs = Quota(LocalFileSystem(tmp_path, durability="host"), ledger)
    node = await made(fs, b"f")
    real = os.pwrite

    def full_after_ten(fd: int, data: Any, offset: int) -> int:
        if offset >= 10:
            raise OSError(errno.ENOSPC, "the disk is full")
        return real(fd, data[:10], offset)

    monkeypatch.setattr(os, "pwrite", full_after_ten)
    await failing(errno.ENOSPC, lambda: fs.write(CALLER, node, 0, bytes(100), Stability.UNSTABLE))
    assert ledger.bytes_used == 10 == fs.getattr(node).st_size
    await fs.close()


@pytest.mark.parametrize("remove", [False, True])
async def test_writes_and_removals_during_a_cut_in_the_pool_stay_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remove: bool
) -> None:
    """The thread has cut the file off, and the loop has not been told yet."""
    large = 1 << 30
    ledger = Ledger(2 * large)
    fs = Quota(LocalFileSystem(tmp_path, durability="host"), ledger)
    node = await made(fs, b"f", large)
    cut, real = threading.Event(), os.ftruncate

    def cutting(fd: int, size: int) -> None:
        real(fd, size)
        cut.set()

    monkeypatch.setattr(os, "ftruncate", cutting)
    pending = fs.setattr(CALLER, node, Changes(size=100))
    assert isinstance(pending, Later)
    assert cut.wait(60)
    await settled(fs.write(CALLER, node, 200, b"x" * 100, Stability.UNSTABLE))
    if remove:
        await settled(fs.remove(CALLER, fs.root, b"f"))
        await failing(errno.ESTALE, lambda: pending)
    else:
        await pending
    assert ledger.bytes_used == measure(tmp_path)[0] == (0 if remove else 300)
    await fs.close()


@pytest.mark.parametrize("how", ["remove", "rename"])
async def test_a_file_that_goes_while_its_change_of_size_is_flushed_gives_back_what_was_held(
    tmp_path: Path, how: str
) -> None:
    """All that is waited for is a flush: the next call comes before its end, and the file's number is free at once."""
    ledger = Ledger(LIMIT)
    fs = Quota(LocalFileSystem(tmp_path, durability="stable"), ledger)
    for _ in range(20):
        node = await made(fs, b"f", 300)
        await made(fs, b"other")
        pending = [fs.setattr(CALLER, node, Changes(size=10))]
        if how == "remove":
            pending.append(fs.remove(CALLER, fs.root, b"f"))  # type: ignore[arg-type]
        else:
            pending.append(fs.rename(CALLER, fs.root, b"other", fs.root, b"f"))  # type: ignore[arg-type]
        another, _ = await settled(fs.create(CALLER, fs.root, b"another", CreateHow.GUARDED, NO_CHANGES))
        pending.append(fs.setattr(CALLER, another, Changes(size=200)))
        for each in pending:
            try:
                await settled(each)
            except OSError as error:
                assert error.errno == errno.ESTALE
        assert ledger.bytes_used == measure(tmp_path)[0] == 200
        for name in os.listdir(tmp_path):
            await settled(fs.remove(CALLER, fs.root, name.encode()))
    assert ledger.bytes_used == 0
    await fs.close()


async def test_a_recount_finds_what_the_host_did(tmp_path: Path) -> None:
    ledger = Ledger(LIMIT, 100)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(bytes(100))
    os.link(tmp_path / "d" / "a", tmp_path / "b")
    (tmp_path / "s").symlink_to("d")
    await ledger.recount(tmp_path)
    assert (ledger.bytes_used, ledger.files_used) == (101, 3)


STEPS = st.tuples(
    st.sampled_from(["create", "size", "write", "remove", "rename", "link", "symlink", "recreate"]),
    st.sampled_from([b"a", b"b", b"c"]),
    st.sampled_from([b"a", b"b", b"c"]),
    st.integers(0, 600),
)


@given(st.lists(STEPS, max_size=40))
@settings(max_examples=60, deadline=None)
def test_the_ledger_is_what_a_recount_would_say(steps: list[tuple[str, bytes, bytes, int]]) -> None:
    async def run(root: str) -> None:
        ledger = Ledger(LIMIT, 4)
        fs = Quota(LocalFileSystem(root, durability="host"), ledger)
        for step in steps:
            try:
                await settled(act(fs, *step))
            except OSError as error:
                assert error.errno in (errno.ENOSPC, errno.EEXIST, errno.ENOENT, errno.EINVAL)
            assert (ledger.bytes_used, ledger.files_used) == measure(root)
            assert ledger.bytes_used <= LIMIT
        await fs.close()

    root = tempfile.mkdtemp()
    try:
        asyncio.run(run(root))
    finally:
        shutil.rmtree(root)


def act(fs: Quota, operation: str, name: bytes, other: bytes, size: int) -> Any:
    root = fs.root
    match operation:
        case "create":
            return fs.create(CALLER, root, name, CreateHow.GUARDED, Changes(size=size))
        case "recreate":
            return fs.create(CALLER, root, name, CreateHow.UNCHECKED, Changes(size=size))
        case "symlink":
            return fs.symlink(CALLER, root, name, b"x" * size, NO_CHANGES)
        case "remove":
            return fs.remove(CALLER, root, name)
        case "rename":
            return fs.rename(CALLER, root, name, root, other)
    node, _attributes = fs.lookup(CALLER, root, name)
    match operation:
        case "size":
            return fs.setattr(CALLER, node, Changes(size=size))
        case "write":
            return fs.write(CALLER, node, size, b"x" * 50, Stability.UNSTABLE)
    return fs.link(CALLER, node, root, other)
