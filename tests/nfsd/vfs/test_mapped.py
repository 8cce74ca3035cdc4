"""The mapped layer: what of several users' files the backend keeps, and where NFS has to be kinder than a local disk.

Who may do what is held against the kernel itself in test_mapped_as_the_kernel.py.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nfsd.vfs.conformance import contents, failing, settled
from nfsd.vfs.interface import (
    MAY_EXECUTE,
    MAY_READ,
    MAY_WRITE,
    NO_CHANGES,
    NOW,
    Caller,
    Changes,
    CreateHow,
    FileSystem,
    Node,
    Stability,
)
from nfsd.vfs.ledger import Ledger
from nfsd.vfs.local import LocalFileSystem
from nfsd.vfs.memory import MemoryFileSystem
from nfsd.vfs.records import Event, Record
from nfsd.vfs.stack import MappedFor, SquashTo, build_stack

ROOT = Caller(0, 0)
OWNER = Caller(1000, 1000)
ANNA = Caller(1001, 1001)
BERT = Caller(1002, 1002, (1001,))
VERIFIER = b"verifier"


@pytest.fixture(params=["memory", "local"])
async def fs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FileSystem]:
    """A volume of OWNER's where everybody may make files."""
    (tmp_path / "volume").mkdir()
    backend = MemoryFileSystem() if request.param == "memory" else local(tmp_path)
    stack = build_stack(backend, identity=MappedFor(1000, 1000))
    await settled(stack.setattr(OWNER, stack.root, Changes(mode=0o777)))
    yield stack
    await stack.close()


def local(base: Path) -> LocalFileSystem:
    return LocalFileSystem(base / "volume", meta=base / "meta", durability="host")


async def made(fs: FileSystem, caller: Caller, name: bytes, mode: int = 0o644, directory: Node | None = None) -> Node:
    how = CreateHow.GUARDED
    return (await settled(fs.create(caller, directory or fs.root, name, how, Changes(mode=mode))))[0]


async def made_directory(fs: FileSystem, caller: Caller, name: bytes, mode: int) -> Node:
    return (await settled(fs.mkdir(caller, fs.root, name, Changes(mode=mode))))[0]


async def made_all(fs: FileSystem, caller: Caller, suffix: bytes = b"") -> dict[str, Node]:
    """A file of each kind."""
    make = Changes(mode=0o640)
    return {
        "file": await made(fs, caller, b"file" + suffix, 0o640),
        "directory": (await settled(fs.mkdir(caller, fs.root, b"directory" + suffix, Changes(mode=0o750))))[0],
        "symlink": (await settled(fs.symlink(caller, fs.root, b"symlink" + suffix, b"to", NO_CHANGES)))[0],
        "fifo": (await settled(fs.mknod(caller, fs.root, b"fifo" + suffix, stat.S_IFIFO, make)))[0],
        "socket": (await settled(fs.mknod(caller, fs.root, b"socket" + suffix, stat.S_IFSOCK, make)))[0],
        "exclusive": (await settled(fs.create(caller, fs.root, b"x" + suffix, CreateHow.EXCLUSIVE, make, VERIFIER)))[0],
    }


def ids(fs: FileSystem, node: Node) -> tuple[int, int]:
    attributes = fs.getattr(node)
    return attributes.st_uid, attributes.st_gid


# ---- whose files are ----


@pytest.mark.parametrize("caller", [ROOT, OWNER, ANNA])
async def test_what_a_caller_makes_is_his(fs: FileSystem, caller: Caller) -> None:
    for kind, node in (await made_all(fs, caller)).items():
        assert ids(fs, node) == (caller.uid, caller.gid), kind
        assert node.ids == (None if caller is OWNER else (caller.uid, caller.gid))


@pytest.mark.parametrize("to", [0, 1000, 1002])
async def test_the_superuser_gives_a_file_of_every_kind_away_and_its_mode_stays(fs: FileSystem, to: int) -> None:
    for kind, node in (await made_all(fs, ANNA)).items():
        before = fs.getattr(node)
        after = await settled(fs.setattr(ROOT, node, Changes(uid=to, gid=to + 5)))
        assert (after.st_uid, after.st_gid, after.st_mode) == (to, to + 5, before.st_mode), kind
        after = await settled(fs.setattr(ROOT, node, Changes(gid=9)))
        assert (after.st_uid, after.st_gid) == (to, 9)


async def test_a_change_of_owner_takes_setuid_and_setgid_from_all_but_directories(fs: FileSystem) -> None:
    for kind, node in (await made_all(fs, ANNA)).items():
        if kind == "symlink":
            continue
        await settled(fs.setattr(ROOT, node, Changes(mode=0o6755)))
        await settled(fs.setattr(ROOT, node, Changes(uid=7)))
        assert stat.S_IMODE(fs.getattr(node).st_mode) == (0o6755 if kind == "directory" else 0o755), kind
    both = await settled(fs.setattr(ROOT, await made(fs, ANNA, b"both"), Changes(mode=0o4755, uid=7)))
    assert stat.S_IMODE(both.st_mode) == 0o4755


async def test_new_files_in_a_setgid_directory_are_its_groups(fs: FileSystem) -> None:
    directory = await made_directory(fs, OWNER, b"d", 0o777)
    await settled(fs.setattr(ROOT, directory, Changes(gid=77)))
    await settled(fs.setattr(ROOT, directory, Changes(mode=0o2777)))
    for caller in (ANNA, OWNER):
        name = b"%d" % caller.uid
        file = await made(fs, caller, name + b"f", 0o2755, directory)
        assert (ids(fs, file), fs.getattr(file).st_mode & 0o7777) == ((caller.uid, 77), 0o755), "not his group"
        below, attributes = await settled(fs.mkdir(caller, directory, name + b"d", Changes(mode=0o755)))
        assert (ids(fs, below), attributes.st_mode & 0o7777) == ((caller.uid, 77), 0o2755)


async def test_ids_asked_for_at_creation_count_as_far_as_they_could_be_given(fs: FileSystem) -> None:
    how = CreateHow.GUARDED
    node, _ = await settled(fs.create(ROOT, fs.root, b"given", how, Changes(uid=5, gid=6)))
    assert ids(fs, node) == (5, 6)
    node, _ = await settled(fs.create(BERT, fs.root, b"grouped", how, Changes(uid=1002, gid=1001)))
    assert ids(fs, node) == (1002, 1001)
    for foreign in (Changes(uid=5), Changes(gid=6)):
        await failing(errno.EPERM, lambda changes=foreign: fs.create(BERT, fs.root, b"no", how, changes))  # type: ignore[misc]
    await failing(errno.ENOENT, lambda: fs.lookup(ROOT, fs.root, b"no"))


async def test_who_settles_the_volumes_owner_first_decides(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "by-the-host").touch()
    fs = build_stack(local(tmp_path), identity=MappedFor(1000, 1000))
    assert ids(fs, fs.root) == (1000, 1000)
    await fs.close()
    fs = build_stack(local(tmp_path), identity=MappedFor(5, 5))
    node, attributes = fs.lookup(ROOT, fs.root, b"by-the-host")
    assert (attributes.st_uid, attributes.st_gid) == (1000, 1000)
    await settled(fs.setattr(ROOT, fs.root, Changes(uid=5, gid=5)))
    assert ids(fs, fs.root) == (5, 5)
    assert ids(fs, node) == (1000, 1000)
    await fs.close()


# ---- how it is kept ----


async def test_owner_and_mode_survive_rename_link_and_restart(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    fs = build_stack(local(tmp_path), identity=MappedFor(1000, 1000))
    await settled(fs.setattr(OWNER, fs.root, Changes(mode=0o777)))
    nodes = await made_all(fs, ANNA)
    for kind, node in nodes.items():
        await settled(
            fs.rename(ANNA, fs.root, b"x" if kind == "exclusive" else kind.encode(), fs.root, b"m" + kind.encode())
        )
        if kind != "directory":
            await settled(fs.link(ANNA, node, fs.root, b"l" + kind.encode()))
            await settled(fs.remove(ANNA, fs.root, b"m" + kind.encode()))
    seen = {kind: fs.getattr(node) for kind, node in nodes.items()}
    await fs.close()
    fs = build_stack(local(tmp_path), identity=MappedFor(1000, 1000))
    for kind, before in seen.items():
        prefix = b"m" if kind == "directory" else b"l"
        _node, after = fs.lookup(ROOT, fs.root, prefix + kind.encode())
        assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid), kind
    await fs.close()


async def test_every_host_file_is_the_servers_and_never_shuts_it_out(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    fs = build_stack(local(tmp_path), identity=MappedFor(1000, 1000))
    await settled(fs.setattr(OWNER, fs.root, Changes(mode=0o777)))
    for kind, node in (await made_all(fs, ANNA)).items():
        if kind != "symlink":
            await settled(fs.setattr(ANNA, node, Changes(mode=0)))
            await settled(fs.setattr(ROOT, node, Changes(uid=3, mode=0o6000)))
    for path in (tmp_path / "volume").iterdir():
        st = path.lstat()
        assert (st.st_uid, st.st_gid) == (os.geteuid(), os.getegid())
        assert not st.st_mode & (stat.S_ISUID | stat.S_ISGID)
        if stat.S_ISREG(st.st_mode) or stat.S_ISDIR(st.st_mode):
            assert st.st_mode & 0o600 == 0o600
    await fs.close()


async def test_the_owners_ordinary_files_have_nothing_beside_and_others_have_one_attribute(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    fs = build_stack(local(tmp_path), identity=MappedFor(1000, 1000))
    await made_all(fs, OWNER)
    node = await made(fs, OWNER, b"given")
    assert all(os.listxattr(path, follow_symlinks=False) == [] for path in (tmp_path / "volume").iterdir())
    await settled(fs.setattr(ROOT, node, Changes(uid=1001)))
    assert os.getxattr(tmp_path / "volume" / "given", "user.nfsd.mode") == b"644 1001 1000"
    await settled(fs.setattr(ROOT, node, Changes(uid=1000)))
    assert os.listxattr(tmp_path / "volume" / "given") == []
    assert (tmp_path / "meta" / "modes").read_text() == ""
    await fs.close()


async def test_without_extended_attributes_owners_are_kept_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOTSUP, "no extended attributes here")

    for name in ("setxattr", "getxattr", "removexattr"):
        monkeypatch.setattr(os, name, refuse)
    (tmp_path / "volume").mkdir()
    fs = build_stack(local(tmp_path), identity=MappedFor(1000, 1000))
    await settled(fs.setattr(OWNER, fs.root, Changes(mode=0o777)))
    await made_all(fs, ANNA)
    await made_all(fs, BERT, b".gone")
    for name in (b"file", b"symlink", b"fifo", b"socket", b"x"):
        await settled(fs.remove(BERT, fs.root, name + b".gone"))
    await settled(fs.rmdir(BERT, fs.root, b"directory.gone"))
    await fs.close()
    fs = build_stack(local(tmp_path), identity=MappedFor(1000, 1000))
    for name in (b"file", b"directory", b"symlink", b"fifo", b"socket", b"x"):
        node, _ = fs.lookup(ROOT, fs.root, name)
        assert ids(fs, node) == (1001, 1001), name
    await fs.close()
    assert len((tmp_path / "meta" / "modes").read_text().splitlines()) == 6


async def test_what_is_kept_is_read_once_and_again_when_the_file_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "volume").mkdir()
    fs = build_stack(local(tmp_path), identity=MappedFor(1000, 1000))
    await made(fs, ROOT, b"f")
    await fs.close()
    fs = build_stack(local(tmp_path), identity=MappedFor(1000, 1000))
    reads: list[object] = []
    getxattr = os.getxattr
    monkeypatch.setattr(os, "getxattr", lambda *a, **k: reads.append(a) or getxattr(*a, **k))
    node, _ = fs.lookup(ROOT, fs.root, b"f")
    for _ in range(3):
        fs.getattr(node)
        fs.lookup(ROOT, fs.root, b"f")
        await settled(fs.write(ROOT, node, 0, b"x", Stability.UNSTABLE))
        await settled(fs.setattr(ROOT, node, Changes(mode=0o600)))
    assert len(reads) == 1
    os.setxattr(tmp_path / "volume" / "f", "user.nfsd.mode", b"640 7 7")  # another server of the same volume
    os.utime(tmp_path / "volume" / "f")
    assert ids(fs, node) == (7, 7)
    assert len(reads) == 2
    await fs.close()


async def test_what_another_server_of_the_volume_keeps_is_seen(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    one = build_stack(local(tmp_path), identity=MappedFor(1000, 1000))
    other = build_stack(LocalFileSystem(tmp_path / "volume", durability="host"), identity=MappedFor(1000, 1000))
    node = await made(one, OWNER, b"f")
    for owner in (1001, 1000, 0):
        twin, _ = other.lookup(ROOT, other.root, b"f")
        await settled(other.setattr(ROOT, twin, Changes(uid=owner, gid=owner)))
        assert ids(one, node) == (owner, owner)
    await one.close()
    await other.close()


# ---- killed in the middle ----


@pytest.mark.parametrize("kind", ["file", "directory", "symlink", "fifo"])
async def test_what_was_half_made_for_one_user_is_not_anothers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The process ends behind the system call that makes the file."""
    (tmp_path / "volume").mkdir()
    fs = build_stack(local(tmp_path), identity=MappedFor(1000, 1000))
    await settled(fs.setattr(OWNER, fs.root, Changes(mode=0o777)))

    class Killed(BaseException):
        pass

    def killing(call: object) -> object:
        def act(*arguments: object, **options: object) -> object:
            call(*arguments, **options)  # type: ignore[operator]
            raise Killed

        return act

    with monkeypatch.context() as patch, pytest.raises(Killed):
        for name in ("open", "mkdir", "symlink", "mknod"):
            patch.setattr(os, name, killing(getattr(os, name)))
        make = {
            "file": lambda: fs.create(ANNA, fs.root, b"new", CreateHow.GUARDED, Changes(mode=0o666)),
            "directory": lambda: fs.mkdir(ANNA, fs.root, b"new", Changes(mode=0o777)),
            "symlink": lambda: fs.symlink(ANNA, fs.root, b"new", b"to", NO_CHANGES),
            "fifo": lambda: fs.mknod(ANNA, fs.root, b"new", stat.S_IFIFO, Changes(mode=0o666)),
        }
        await settled(make[kind]())
    await fs.close()
    for _ in range(2):
        fs = build_stack(local(tmp_path), identity=MappedFor(1000, 1000))
        _node, attributes = fs.lookup(ROOT, fs.root, b"new")
        assert (attributes.st_uid, attributes.st_gid) == ((1001, 1001) if kind == "symlink" else (0, 0))
        await fs.close()


async def test_a_symlink_that_was_never_made_is_not_its_names_next_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "volume").mkdir()
    fs = build_stack(local(tmp_path), identity=MappedFor(1000, 1000))
    await settled(fs.setattr(OWNER, fs.root, Changes(mode=0o777)))
    await failing(errno.ENOENT, lambda: fs.symlink(ANNA, fs.root, b"failed", b"", NO_CHANGES))
    await settled(fs.symlink(OWNER, fs.root, b"failed", b"to", NO_CHANGES))

    class Killed(BaseException):
        pass

    def killed(*_arguments: object, **_options: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "symlink", killed)
        fs.symlink(ANNA, fs.root, b"new", b"to", NO_CHANGES)
    await fs.close()
    fs = build_stack(local(tmp_path), identity=MappedFor(1000, 1000))
    await settled(fs.symlink(OWNER, fs.root, b"new", b"to", NO_CHANGES))
    await fs.close()
    fs = build_stack(local(tmp_path), identity=MappedFor(1000, 1000))
    for name in (b"failed", b"new"):
        _node, attributes = fs.lookup(ROOT, fs.root, name)
        assert (attributes.st_uid, attributes.st_gid) == (1000, 1000), name
    await fs.close()


# ---- what NFS has to be kinder about (RFC 1813 section 4.4) ----


async def test_an_owner_reads_writes_and_cuts_off_whatever_the_mode(fs: FileSystem) -> None:
    node = await made(fs, ANNA, b"f", 0)
    await settled(fs.write(ANNA, node, 0, b"hello", Stability.UNSTABLE))
    assert contents(await settled(fs.read(ANNA, node, 0, 10))) == b"hello"
    assert (await settled(fs.setattr(ANNA, node, Changes(size=1)))).st_size == 1
    assert fs.access(ANNA, node) == 0, "ACCESS tells the truth"
    for act in (
        lambda: fs.read(BERT, node, 0, 10),
        lambda: fs.write(BERT, node, 0, b"x", Stability.UNSTABLE),
        lambda: fs.setattr(BERT, node, Changes(size=0)),
    ):
        await failing(errno.EACCES, act)


async def test_what_may_be_run_may_be_read_over_the_wire(fs: FileSystem) -> None:
    node = await made(fs, ANNA, b"program", 0o701)
    await settled(fs.write(ANNA, node, 0, b"text", Stability.UNSTABLE))
    assert fs.access(OWNER, node) == MAY_EXECUTE
    assert contents(await settled(fs.read(OWNER, node, 0, 10))) == b"text"
    await settled(fs.setattr(ANNA, node, Changes(mode=0o700)))
    await failing(errno.EACCES, lambda: fs.read(OWNER, node, 0, 10))


async def test_a_truncating_open_of_a_foreign_file_takes_the_right_to_write_it(fs: FileSystem) -> None:
    node = await made(fs, ANNA, b"f", 0o646)
    for touch in (None, NOW):  # open(O_TRUNC) of the Linux client touches mtime
        await settled(fs.setattr(OWNER, node, Changes(size=0, mtime_ns=touch)))
    how, cut = CreateHow.UNCHECKED, Changes(size=0)
    await settled(fs.create(OWNER, fs.root, b"f", how, cut))
    await settled(fs.setattr(ANNA, node, Changes(mode=0o644)))
    await failing(errno.EACCES, lambda: fs.create(OWNER, fs.root, b"f", how, cut))
    await settled(fs.create(OWNER, fs.root, b"f", how, NO_CHANGES))


async def test_an_existing_file_is_opened_by_create_in_a_directory_that_may_not_be_written(fs: FileSystem) -> None:
    directory = await made_directory(fs, ANNA, b"d", 0o755)
    node = await made(fs, ANNA, b"f", 0o666, directory)
    how, cut = CreateHow.UNCHECKED, Changes(size=0)
    for changes in (NO_CHANGES, cut):
        assert (await settled(fs.create(OWNER, directory, b"f", how, changes)))[0] is node
    await failing(errno.EACCES, lambda: fs.create(OWNER, directory, b"new", how, NO_CHANGES))
    await settled(fs.setattr(ANNA, directory, Changes(mode=0o666)))
    await failing(errno.EACCES, lambda: fs.create(OWNER, directory, b"f", how, NO_CHANGES))


# ---- with the other layers ----


async def test_policy_quota_and_audit_work_as_they_do_under_squash() -> None:
    records: list[Record] = []
    fs = build_stack(
        MemoryFileSystem(),
        identity=MappedFor(1000, 1000),
        read=["/**"],
        write=["/open/**", "/open"],
        ledger=Ledger(10),
        sink=records.extend,
    )
    directory = await made_directory(fs, OWNER, b"open", 0o777)
    node = await made(fs, ANNA, b"f", directory=directory)
    await failing(errno.ENOSPC, lambda: fs.write(ANNA, node, 0, b"x" * 11, Stability.UNSTABLE))
    await failing(errno.EACCES, lambda: fs.write(BERT, node, 0, b"x", Stability.UNSTABLE))
    await failing(errno.EACCES, lambda: fs.create(ROOT, fs.root, b"shut", CreateHow.GUARDED, NO_CHANGES))
    assert fs.access(ANNA, node) == MAY_READ | MAY_WRITE
    await fs.close()
    refused = [(e.operation, e.result) for e in records if isinstance(e, Event) and e.result]
    assert refused == [("write", errno.ENOSPC), ("write", errno.EACCES), ("create", errno.EACCES)]


async def test_a_volume_that_was_mapped_is_squashed_and_mapped_again(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    backend = local(tmp_path)
    mapped = build_stack(backend, identity=MappedFor(1000, 1000))
    squashed = build_stack(backend, identity=SquashTo(1000, 1000))
    node = await made(mapped, ROOT, b"f", 0o600)
    assert squashed.access(ANNA, node) == MAY_READ | MAY_WRITE
    await settled(squashed.setattr(ANNA, node, Changes(mode=0o640, uid=1000)))
    assert ids(mapped, node) == (0, 0)
    assert fs_mode(mapped, node) == 0o640
    assert ids(mapped, await made(squashed, ANNA, b"new")) == (1000, 1000)
    await mapped.close()


def fs_mode(fs: FileSystem, node: Node) -> int:
    return stat.S_IMODE(fs.getattr(node).st_mode)
