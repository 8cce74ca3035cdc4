"""What only a directory of a host can go wrong with: other processes, restarts, modes, descriptors, symlinks."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable
from itertools import islice
from pathlib import Path

import pytest

from nfsd.vfs import listing, local
from nfsd.vfs.conformance import VERIFIER, contents, failing, settled
from nfsd.vfs.interface import (
    NO_CHANGES,
    Caller,
    Changes,
    CreateHow,
    FileRange,
    Later,
    Misplaced,
    Node,
    Stability,
)
from nfsd.vfs.local import LocalFileSystem

CALLER = Caller(1000, 1000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "volume"
    path.mkdir()
    return path


@pytest.fixture
async def fs(root: Path) -> AsyncIterator[LocalFileSystem]:
    fs = LocalFileSystem(root, durability="host", descriptors_max=16)
    yield fs
    await fs.close()


async def restarted(fs: LocalFileSystem, root: Path) -> LocalFileSystem:
    await fs.close()
    return LocalFileSystem(root, durability="host", descriptors_max=16)


async def again(fs: LocalFileSystem, act: Callable[[], object]) -> object:
    """What a front end does: search for what was moved, and call again."""
    for _ in range(10):
        try:
            return act()
        except Misplaced as error:
            await settled(fs.find(error.fileid, error.generation))
    raise AssertionError("the node is misplaced again and again")


async def made(fs: LocalFileSystem, name: bytes, directory: Node | None = None, mode: int = 0o644) -> Node:
    changes = Changes(mode=mode)
    create = fs.create(CALLER, directory or fs.root, name, CreateHow.GUARDED, changes)
    return (await settled(create))[0]


# ---- modes an ordinary user's daemon cannot store ----


async def test_the_host_never_sees_setuid_and_the_daemon_is_never_locked_out(fs: LocalFileSystem, root: Path) -> None:
    node = await made(fs, b"file")
    sub, _ = await settled(fs.mkdir(CALLER, fs.root, b"sub", Changes(mode=0)))
    for mode in (0, 0o6777, 0o4000, 0o070):
        await settled(fs.setattr(CALLER, node, Changes(mode=mode)))
        await settled(fs.setattr(CALLER, sub, Changes(mode=mode)))
        for path, needed in ((root / "file", 0o600), (root / "sub", 0o700)):
            host = path.lstat().st_mode
            assert host & needed == needed
            assert not host & (stat.S_ISUID | stat.S_ISGID)
    await made(fs, b"inside", sub)


async def test_a_true_mode_survives_rename_link_and_restart(fs: LocalFileSystem, root: Path) -> None:
    node = await made(fs, b"file", mode=0o4111)
    await settled(fs.rename(CALLER, fs.root, b"file", fs.root, b"moved"))
    await settled(fs.link(CALLER, node, fs.root, b"linked"))
    fs = await restarted(fs, root)
    for name in (b"moved", b"linked"):
        found, attributes = fs.lookup(CALLER, fs.root, name)
        assert stat.S_IMODE(attributes.st_mode) == 0o4111
        assert found.owner_access == 1
    await fs.close()


async def test_a_chmod_on_the_host_wins(fs: LocalFileSystem, root: Path) -> None:
    node = await made(fs, b"file", mode=0)
    (root / "file").chmod(0o640)
    assert stat.S_IMODE(fs.getattr(node).st_mode) == 0o640
    assert node.owner_access == 6


async def test_a_sticky_directory_made_on_the_host_is_shown_as_it_is(fs: LocalFileSystem, root: Path) -> None:
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    assert stat.S_IMODE(fs.lookup(CALLER, fs.root, b"tmp")[1].st_mode) == 0o1777


async def test_ordinary_files_carry_no_extended_attribute(fs: LocalFileSystem, root: Path) -> None:
    node = await made(fs, b"file", mode=0)
    assert os.listxattr(root / "file") == ["user.nfsd.mode"]
    await settled(fs.setattr(CALLER, node, Changes(mode=0o600)))
    assert os.listxattr(root / "file") == []


async def test_without_extended_attributes_modes_are_kept_in_the_meta_directory(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOTSUP, "no extended attributes here")

    for name in ("setxattr", "getxattr", "removexattr"):
        monkeypatch.setattr(os, name, refuse)
    meta = tmp_path / "meta"
    fs = LocalFileSystem(root, meta=meta, durability="host")
    await made(fs, b"file", mode=0o4000)
    await made(fs, b"gone", mode=0)
    await settled(fs.mknod(CALLER, fs.root, b"fifo", stat.S_IFIFO, Changes(mode=0o1600)))
    await settled(fs.remove(CALLER, fs.root, b"gone"))
    await settled(fs.rename(CALLER, fs.root, b"file", fs.root, b"moved"))
    await fs.close()
    with (meta / "modes").open("ab") as log:
        log.write(b"12 34")  # the line a killed process was writing
    fs = LocalFileSystem(root, meta=meta, durability="host")
    assert stat.S_IMODE(fs.lookup(CALLER, fs.root, b"moved")[1].st_mode) == 0o4000
    assert stat.S_IMODE(fs.lookup(CALLER, fs.root, b"fifo")[1].st_mode) == 0o1600
    await fs.close()
    assert len((meta / "modes").read_text().splitlines()) == 2


async def test_files_the_host_closed_to_their_owner_are_opened_all_the_same(fs: LocalFileSystem, root: Path) -> None:
    """As an ordinary user only: the superuser is refused nothing (test_ordinary_user.py runs this as one)."""
    (root / "d").mkdir()
    (root / "d" / "file").write_bytes(b"content")
    (root / "d" / "file").chmod(0o444)
    (root / "d").chmod(0o555)
    directory, _ = fs.lookup(CALLER, fs.root, b"d")
    node, attributes = fs.lookup(CALLER, directory, b"file")
    assert stat.S_IMODE(attributes.st_mode) == 0o444
    await settled(fs.write(CALLER, node, 0, b"C", Stability.UNSTABLE))
    assert stat.S_IMODE(fs.getattr(node).st_mode) == 0o444
    (root / "d" / "file").chmod(0)
    assert contents(await settled(fs.read(CALLER, node, 0, 10))) == b"Content"
    await made(fs, b"new", directory)
    assert stat.S_IMODE(fs.getattr(directory).st_mode) == 0o555
    (root / "d").chmod(0o700)


# ---- other processes change the tree ----


async def test_what_the_host_moved_is_found_again(fs: LocalFileSystem, root: Path) -> None:
    sub, _ = await settled(fs.mkdir(CALLER, fs.root, b"a", Changes(mode=0o755)))
    node = await made(fs, b"file", sub)
    fs.descriptors.drop(node)  # type: ignore[arg-type]
    (root / "b").mkdir()
    (root / "a").rename(root / "b" / "c")
    (root / "b" / "c" / "file").rename(root / "elsewhere")
    with pytest.raises(Misplaced):
        fs.getattr(node)
    assert (await again(fs, lambda: fs.getattr(node))) is not None
    assert fs.path(node) == b"elsewhere"
    await again(fs, lambda: fs.getattr(sub))
    assert fs.path(sub) == b"b/c"


async def test_what_the_host_moved_out_of_the_volume_is_stale(fs: LocalFileSystem, root: Path) -> None:
    sub, _ = await settled(fs.mkdir(CALLER, fs.root, b"a", Changes(mode=0o755)))
    below = await made(fs, b"file", sub)
    fs.descriptors.drop(below)  # type: ignore[arg-type]
    (root / "a").rename(root.parent / "outside")
    with pytest.raises(Misplaced) as moved:
        fs.getattr(sub)
    await failing(errno.ESTALE, lambda: fs.find(moved.value.fileid, moved.value.generation))
    with pytest.raises(OSError, match="Stale"):
        fs.lookup(CALLER, sub, b"file")
    with pytest.raises(OSError, match="Stale"):
        fs.getattr(below)


async def test_a_directory_replaced_by_a_symlink_is_not_walked_through(fs: LocalFileSystem, root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"secret")
    (root / "d").mkdir()
    (root / "d" / "file").write_bytes(b"harmless")
    directory, _ = fs.lookup(CALLER, fs.root, b"d")
    node, _ = fs.lookup(CALLER, directory, b"file")
    for known in (directory, node):
        fs.descriptors.drop(known)  # type: ignore[arg-type]
    (root / "d").rename(root / "kept")
    (root / "d").symlink_to(outside)
    for act in (
        lambda: fs.lookup(CALLER, directory, b"file"),
        lambda: fs.read(CALLER, node, 0, 10),
        lambda: fs.create(CALLER, directory, b"new", CreateHow.UNCHECKED, NO_CHANGES),
    ):
        with pytest.raises(Misplaced):
            act()
    assert contents(await settled(await again(fs, lambda: fs.read(CALLER, node, 0, 10)))) == b"harmless"  # type: ignore[arg-type]
    assert os.listdir(outside) == ["file"]


async def test_a_rename_over_a_file_by_the_host_makes_the_old_one_stale(fs: LocalFileSystem, root: Path) -> None:
    node = await made(fs, b"file")
    (root / "new").write_bytes(b"new")
    (root / "new").rename(root / "file")
    await failing(errno.ESTALE, lambda: fs.getattr(node))
    assert fs.lookup(CALLER, fs.root, b"file")[1].st_size == 3


async def test_a_file_that_got_the_number_of_another_is_not_taken_for_it(fs: LocalFileSystem, root: Path) -> None:
    reused = 0
    for _ in range(50):
        node = await made(fs, b"file")
        fs.descriptors.drop(node)  # type: ignore[arg-type]
        os.unlink(root / "file")
        (root / "file").write_bytes(b"other")
        reused += (root / "file").stat().st_ino == node.fileid
        with pytest.raises(OSError, match="Stale"):
            await again(fs, lambda node=node: fs.getattr(node))  # type: ignore[misc]
        found, _ = fs.lookup(CALLER, fs.root, b"file")
        assert found is not node
        await settled(fs.remove(CALLER, fs.root, b"file"))
    if not reused:
        pytest.skip("this file system never used an inode number again")


async def test_a_volume_deleted_under_the_server_is_stale_and_closes_cleanly(root: Path) -> None:
    before = open_descriptors()
    fs = LocalFileSystem(root, durability="host")
    os.rmdir(root)
    await failing(errno.ESTALE, lambda: fs.getattr(fs.root))
    await failing(errno.ENOENT, lambda: fs.create(CALLER, fs.root, b"x", CreateHow.GUARDED, NO_CHANGES))
    await fs.close()
    assert open_descriptors() == before


async def test_another_name_takes_over_when_the_host_removes_one(fs: LocalFileSystem, root: Path) -> None:
    node = await made(fs, b"one")
    await settled(fs.link(CALLER, node, fs.root, b"two"))
    fs.descriptors.drop(node)  # type: ignore[arg-type]
    os.unlink(root / "one")
    assert fs.getattr(node).st_nlink == 1
    assert fs.path(node) == b"two"


async def test_a_listing_follows_what_the_host_does(fs: LocalFileSystem, root: Path) -> None:
    await made(fs, b"ours")
    for index in range(3):
        (root / f"theirs{index}").touch()
        os.utime(root, ns=(index, index))  # another mtime than ours, however coarse the kernel's clock is
        await made(fs, b"ours%d" % index)
        names = {entry.name for entry in (await settled(fs.readdir(CALLER, fs.root))).entries(0)}
        assert names == {b".", b"..", *map(os.fsencode, os.listdir(root))}


async def test_a_listing_read_from_a_young_directory_is_soon_read_again(
    fs: LocalFileSystem, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(fs, b"ours")
    await settled(fs.readdir(CALLER, fs.root))
    young = os.stat(root).st_mtime_ns
    (root / "theirs").touch()
    os.utime(root, ns=(young, young))  # the same tick of a coarse clock
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 2 * listing.DOUBT_NS)
    names = {entry.name for entry in (await settled(fs.readdir(CALLER, fs.root))).entries(0)}
    assert names == {b".", b"..", b"ours", b"theirs"}


async def test_a_large_directory_is_read_once_in_the_pool_while_it_is_emptied(
    fs: LocalFileSystem, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    loop_thread = threading.get_ident()
    scandir = os.scandir

    def counting(fd: int) -> object:
        nonlocal reads
        reads += 1
        assert threading.get_ident() != loop_thread
        return scandir(fd)

    monkeypatch.setattr(os, "scandir", counting)
    monkeypatch.setattr(local, "READ_INLINE_BYTES_MAX", 0)
    monkeypatch.setattr(listing, "DOUBT_NS", 10**12)  # this machine may be slow
    for index in range(2000):
        (root / str(index)).touch()
    assert type(fs.readdir(CALLER, fs.root)) is Later
    cookie, seen = 2, 0
    while page := list(islice((await settled(fs.readdir(CALLER, fs.root))).entries(cookie), 100)):
        cookie = page[-1].cookie
        for entry in page:
            await settled(fs.remove(CALLER, fs.root, entry.name))
            seen += 1
    assert (seen, reads) == (2000, 2)
    assert os.listdir(root) == []


# ---- restarts ----


async def test_handles_outlive_the_process(fs: LocalFileSystem, root: Path) -> None:
    sub, _ = await settled(fs.mkdir(CALLER, fs.root, b"sub", Changes(mode=0)))
    node = await made(fs, b"file", sub)
    gone = await made(fs, b"gone")
    await settled(fs.remove(CALLER, fs.root, b"gone"))
    verifier = fs.write_verifier
    fs = await restarted(fs, root)
    waiting = [fs.find(node.fileid, node.generation) for _ in range(3)]
    assert all(type(result) is Later for result in waiting)
    found = [await settled(result) for result in waiting]
    assert found[0] is found[1] is found[2]
    assert fs.path(found[0]) == b"sub/file"
    assert fs.parent(CALLER, fs.lookup(CALLER, fs.root, b"sub")[0])[0] is fs.root
    assert fs.lookup(CALLER, fs.root, b"sub")[0].owner_access == 0
    await failing(errno.ESTALE, lambda: fs.find(gone.fileid, gone.generation))
    await failing(errno.ESTALE, lambda: fs.find(node.fileid, node.generation ^ 1))
    assert fs.find(fs.root.fileid, fs.root.generation) is fs.root
    assert fs.write_verifier == verifier
    await fs.close()


async def test_an_exclusive_create_is_recognised_after_a_restart(fs: LocalFileSystem, root: Path) -> None:
    how = CreateHow.EXCLUSIVE
    node, _ = await settled(fs.create(CALLER, fs.root, b"x", how, NO_CHANGES, VERIFIER))
    fs = await restarted(fs, root)
    again, _ = await settled(fs.create(CALLER, fs.root, b"x", how, NO_CHANGES, VERIFIER))
    assert again.fileid == node.fileid
    await fs.close()


async def test_cookies_outlive_the_process(fs: LocalFileSystem, root: Path) -> None:
    for index in range(20):
        await made(fs, b"%d" % index)
    before = list((await settled(fs.readdir(CALLER, fs.root))).entries(0))
    fs = await restarted(fs, root)
    after = await settled(fs.readdir(CALLER, fs.root))
    assert list(after.entries(before[9].cookie)) == before[10:]
    await fs.close()


# ---- descriptors, buffers, large things ----


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_descriptors_are_bounded_and_all_closed_at_the_end(root: Path) -> None:
    before = open_descriptors()
    fs = LocalFileSystem(root, durability="host", descriptors_max=20)
    directory: Node = fs.root
    for index in range(60):  # deeper than there are descriptors
        directory, _ = await settled(fs.mkdir(CALLER, directory, b"d%d" % index, Changes(mode=0o755)))
        node = await made(fs, b"file", directory)
        await settled(fs.write(CALLER, node, 0, b"x", Stability.UNSTABLE))
        assert open_descriptors() <= before + 21
    nodes = [await settled(fs.find(node.fileid, node.generation))]
    assert fs.getattr(nodes[0]).st_size == 1
    await settled(fs.rename(CALLER, directory, b"file", fs.root, b"up"))
    await fs.close()
    await fs.close()
    assert open_descriptors() == before


async def test_a_range_being_sent_keeps_its_descriptor(root: Path) -> None:
    fs = LocalFileSystem(root, durability="host", descriptors_max=16)
    node = await made(fs, b"large")
    await settled(fs.write(CALLER, node, 0, os.urandom(1 << 17), Stability.UNSTABLE))
    result = await settled(fs.read(CALLER, node, 0, 1 << 17))
    data = result.data
    assert isinstance(data, FileRange)
    await settled(fs.remove(CALLER, fs.root, b"large"))
    for index in range(40):
        await made(fs, b"%d" % index)
    assert len(os.pread(data.fd, data.length, 0)) == 1 << 17
    assert os.fstat(data.fd).st_ino == node.fileid
    data.release()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(data.fd)
    await fs.close()


async def test_cold_reads_leave_the_loop_and_never_share_a_buffer(
    fs: LocalFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = []
    for index in range(4):
        node = await made(fs, b"%d" % index)
        await settled(fs.write(CALLER, node, 0, bytes([index]) * 100_000, Stability.UNSTABLE))
        nodes.append(node)
    loop_thread = threading.get_ident()
    real = os.preadv

    def cold(fd: int, buffers: list[bytearray], offset: int, flags: int = 0) -> int:
        if flags:
            raise BlockingIOError(errno.EAGAIN, "not in the page cache")
        assert threading.get_ident() != loop_thread
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", cold)
    for count in (5000, 100_000):
        waiting = [fs.read(CALLER, node, 50, count) for node in nodes]
        assert all(type(result) is Later for result in waiting)
        results = [await settled(result) for result in waiting]
        for index, result in enumerate(results):
            length = min(count, 99_950)
            assert result.data == bytes([index]) * length
            assert result.eof == (count > 99_950)
        for result in results:
            assert result.release is not None
            result.release()


async def test_large_files_are_cut_and_deleted_in_the_pool(fs: LocalFileSystem, root: Path) -> None:
    node = await made(fs, b"large")
    await settled(fs.setattr(CALLER, node, Changes(size=1 << 30)))
    pending = fs.setattr(CALLER, node, Changes(size=5, mode=0o600))
    assert type(pending) is Later
    attributes = await pending
    assert (attributes.st_size, stat.S_IMODE(attributes.st_mode)) == (5, 0o600)
    await settled(fs.setattr(CALLER, node, Changes(size=1 << 30)))
    await made(fs, b"other")
    await settled(fs.rename(CALLER, fs.root, b"other", fs.root, b"large"))
    await failing(errno.ESTALE, lambda: fs.getattr(node))
    assert os.listdir(root) == ["large"]


async def test_a_file_can_be_executed_on_the_host_soon_after_it_was_written(fs: LocalFileSystem) -> None:
    node = await made(fs, b"program")
    await settled(fs.write(CALLER, node, 0, b"#!/bin/sh\n", Stability.UNSTABLE))
    assert fs.descriptors.drop_idle_writers()  # used since the last sweep: once more
    assert not fs.descriptors.drop_idle_writers()
    assert node.fd == -1  # type: ignore[attr-defined]


async def test_a_mount_point_is_not_part_of_the_volume() -> None:
    if not os.path.ismount("/dev/shm") and not os.path.ismount("/proc"):  # noqa: ASYNC240
        pytest.skip("nothing is mounted here that a test could look at")
    fs = LocalFileSystem("/", durability="host", descriptors_max=16)
    await failing(errno.EACCES, lambda: fs.lookup(CALLER, fs.root, b"proc"))
    assert fs.peek(fs.root, b"proc") is None
    await fs.close()


def test_a_wrong_durability_is_refused_by_name(root: Path) -> None:
    with pytest.raises(ValueError, match=r'durability \'fast\': wanted "stable" or "host"'):
        LocalFileSystem(root, durability="fast")
