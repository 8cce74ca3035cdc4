"""Every error that docs/nfs-support.md lists as the call's or the volume's doing, provoked over the wire.

`PROVOKED` has one call for each row of the document's tables, and nothing else: a row without a call, and a call
without a row, fail. What only a failing host can bring about (*host*) is not here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nfsd.errors import Nfsstat3
from nfsd.mount3.types import Mountstat3
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Createmode3, Ftype3, Proc, StableHow
from nfsd.vfs.interface import FileSystem
from nfsd.vfs.ledger import Ledger
from nfsd.vfs.local import LocalFileSystem
from nfsd.vfs.stack import SquashTo, build_stack
from nfsd.xdr import Struct
from tests.support.documents import DOCS, tables
from tests.support.peer import Peer
from tests.support.served import GID, UID, Served

LONG = b"n" * 256
BEYOND = 1 << 63
OTHERS = t.Sattr3(uid=UID + 1)


def _volume(path: Path) -> str:
    """One of everything."""
    (path / "sub" / "below").mkdir(parents=True)
    (path / "empty").mkdir()
    (path / "locked").mkdir()
    (path / "locked" / "inside").mkdir()
    (path / "drop").mkdir()
    for file in ("file", "sub/child", "drop/file"):
        (path / file).write_bytes(b"contents")
    for link in ("link", "drop/link"):
        os.symlink("file", path / link)
    os.mkfifo(path / "fifo")
    return str(path)


def _stack(path: Path, **layers: object) -> FileSystem:
    identity = layers.pop("identity", SquashTo(UID, GID))
    backend = LocalFileSystem(_volume(path), durability="host")
    return build_stack(backend, identity=identity, **layers)  # type: ignore[arg-type]  # the layers are build_stack's own


def _full() -> Ledger:
    return Ledger(1, 1, bytes_used=1, files_used=1)


class World:
    """Volumes that differ in how they are attached, and a client that has mounted all of them."""

    def __init__(self, served: Served, tmp_path: Path) -> None:
        how: dict[str, Callable[[Path], FileSystem]] = {
            "plain": _stack,
            "other": _stack,
            "read-only": lambda path: _stack(path, read_only=True),
            "policy": lambda path: _stack(path, read=["/sub/**"], write=["/drop/**"]),
            "full": lambda path: _stack(path, ledger=_full()),
            "strict": lambda path: _stack(path, identity=SquashTo(UID, GID, "deny")),
        }
        for number, (name, make) in enumerate(how.items()):
            path = tmp_path / name
            path.mkdir()
            served.attach(lambda make=make, path=path: make(path), b"/t/" + name.encode(), b"%8d" % number, number)  # type: ignore[misc]  # bound now
        self.peer: Peer = served.peer()
        self.peer.setattr(self.at("locked"), t.Sattr3(mode=0))

    def at(self, path: str = "", volume: str = "plain") -> bytes:
        root = self.peer.mount(f"/t/{volume}".encode())
        return self.peer.walk(root, path.encode()) if path else root


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Served() as served:
        yield World(served, tmp_path)


Call = Callable[[World], Struct]


# ---- calls ----


def _entry(name: bytes, directory: str = "", volume: str = "plain") -> Callable[[World], t.Diropargs3]:
    return lambda w: t.Diropargs3(w.at(directory, volume), name)


def _names(make: Callable[[t.Diropargs3], Struct]) -> Callable[..., Call]:
    """A call that names one entry, from where that is: `(name, directory, volume)`."""

    def call(name: bytes, directory: str = "", volume: str = "plain") -> Call:
        where = _entry(name, directory, volume)
        return lambda w: make(where(w))

    return call


def _setattr(path: str, volume: str = "plain", guard: t.Nfstime3 | None = None, **what: int) -> Call:
    return lambda w: t.Setattr3Args(w.at(path, volume), t.Sattr3(**what), guard)


def _read(path: str, volume: str = "plain") -> Call:
    return lambda w: t.Read3Args(w.at(path, volume), 0, 100)


def _write(path: str, volume: str = "plain", offset: int = 0) -> Call:
    return lambda w: t.Write3Args(w.at(path, volume), offset, 16, StableHow.UNSTABLE, bytes(16))


def _rename(source: bytes, target: bytes, **where: str) -> Call:
    """`source_in`, `target_in`: directories; `source_volume`, `target_volume`."""
    one = _entry(source, where.get("source_in", ""), where.get("source_volume", "plain"))
    other = _entry(target, where.get("target_in", ""), where.get("target_volume", "plain"))
    return lambda w: t.Rename3Args(one(w), other(w))


def _link(path: str, name: bytes, directory: str = "", volume: str = "plain", into: str | None = None) -> Call:
    where = _entry(name, directory, volume if into is None else into)
    return lambda w: t.Link3Args(w.at(path, volume), where(w))


def _readdir(path: str, count: int = 4096, cookie: int = 0, verifier: bytes = bytes(8)) -> Call:
    return lambda w: t.Readdir3Args(w.at(path), cookie, verifier, count)


def _readdirplus(path: str, count: int = 4096, cookie: int = 0, verifier: bytes = bytes(8)) -> Call:
    return lambda w: t.Readdirplus3Args(w.at(path), cookie, verifier, count, count)


def _creating(how: Createmode3 = Createmode3.GUARDED, attributes: t.Sattr3 | None = None) -> Callable[..., Call]:
    given = attributes or t.Sattr3(mode=0o644)
    return _names(lambda where: t.Create3Args(where, (how, given, None)))


def _making(attributes: t.Sattr3 | None = None) -> Callable[..., Call]:
    return _names(lambda where: t.Mkdir3Args(where, attributes or t.Sattr3(mode=0o755)))


def _linking(target: bytes = b"target", attributes: t.Sattr3 | None = None) -> Callable[..., Call]:
    return _names(lambda where: t.Symlink3Args(where, attributes or t.Sattr3(), target))


def _node(kind: Ftype3 = Ftype3.NF3FIFO) -> Callable[..., Call]:
    spec = t.Specdata3(1, 3) if kind in (Ftype3.NF3CHR, Ftype3.NF3BLK) else None
    attributes = None if kind in (Ftype3.NF3REG, Ftype3.NF3DIR, Ftype3.NF3LNK) else t.Sattr3(mode=0o644)
    return _names(lambda where: t.Mknod3Args(where, (kind, attributes, spec)))


_entry_call = _names(t.Diropargs3Args)


def _new_name(make: Callable[..., Call]) -> dict[str, Call]:
    """What every procedure that makes a name answers alike."""
    return {
        "EXIST": make(b"file"),
        "NOTDIR": make(b"new", "file"),
        "NAMETOOLONG": make(LONG),
        "ACCES": make(b"new", "locked"),
        "ROFS": make(b"new", volume="read-only"),
        "NOSPC": make(b"new", volume="full"),
    }


def _old_name() -> dict[str, Call]:
    """What REMOVE and RMDIR answer alike."""
    return {
        "NOENT": _entry_call(b"none"),
        "NAMETOOLONG": _entry_call(LONG),
        "ACCES": _entry_call(b"inside", "locked"),
    }


PROVOKED: dict[Proc, dict[str, Call]] = {
    Proc.SETATTR: {
        "NOT_SYNC": _setattr("file", guard=t.Nfstime3(1, 2), mode=0o600),
        "ISDIR": _setattr("sub", size=1),
        "INVAL": _setattr("fifo", size=1),
        "FBIG": _setattr("file", size=BEYOND),
        "NOTSUPP": _setattr("link", mode=0o600),
        "PERM": _setattr("file", "strict", uid=UID + 1),
        "ACCES": _setattr("sub/child", "policy", mode=0o600),
        "ROFS": _setattr("file", "read-only", mode=0o600),
        "NOSPC": _setattr("file", "full", size=1000),
    },
    Proc.LOOKUP: {
        "NOENT": _entry_call(b"none"),
        "NOTDIR": _entry_call(b"x", "file"),
        "NAMETOOLONG": _entry_call(LONG),
        "ACCES": _entry_call(b"inside", "locked"),
    },
    Proc.READLINK: {
        "INVAL": lambda w: t.Object3Args(w.at("file")),
        "ACCES": lambda w: t.Object3Args(w.at("drop/link", "policy")),
    },
    Proc.READ: {"ISDIR": _read("sub"), "INVAL": _read("fifo"), "ACCES": _read("drop/file", "policy")},
    Proc.WRITE: {
        "ISDIR": _write("sub"),
        "INVAL": _write("fifo"),
        "FBIG": _write("file", offset=BEYOND - 1),
        "ACCES": _write("sub/child", "policy"),
        "ROFS": _write("file", "read-only"),
        "NOSPC": _write("file", "full"),
    },
    Proc.CREATE: {
        **_new_name(_creating()),
        "ISDIR": _creating(Createmode3.UNCHECKED)(b"sub"),
        "PERM": _creating(attributes=OTHERS)(b"new", volume="strict"),
    },
    Proc.MKDIR: {**_new_name(_making()), "PERM": _making(OTHERS)(b"new", volume="strict")},
    Proc.SYMLINK: {
        **_new_name(_linking()),
        "INVAL": _linking(b"a\0b")(b"new"),
        "NOENT": _linking(b"")(b"new"),
        "PERM": _linking(attributes=OTHERS)(b"new", volume="strict"),
    },
    Proc.MKNOD: {
        **_new_name(_node()),
        "BADTYPE": _node(Ftype3.NF3DIR)(b"new"),
        "PERM": _node(Ftype3.NF3CHR)(b"new"),
    },
    Proc.REMOVE: {
        **_old_name(),
        "ISDIR": _entry_call(b"sub"),
        "NOTDIR": _entry_call(b"x", "file"),
        "ROFS": _entry_call(b"file", volume="read-only"),
    },
    Proc.RMDIR: {
        **_old_name(),
        "NOTEMPTY": _entry_call(b"sub"),
        "NOTDIR": _entry_call(b"file"),
        "INVAL": _entry_call(b"."),
        "EXIST": _entry_call(b".."),
        "ROFS": _entry_call(b"empty", volume="read-only"),
    },
    Proc.RENAME: {
        "NOENT": _rename(b"none", b"new"),
        "NOTEMPTY": _rename(b"empty", b"sub"),
        "ISDIR": _rename(b"file", b"empty"),
        "NOTDIR": _rename(b"empty", b"file"),
        "INVAL": _rename(b"sub", b"new", target_in="sub/below"),
        "XDEV": _rename(b"file", b"new", target_volume="other"),
        "NAMETOOLONG": _rename(b"file", LONG),
        "ACCES": _rename(b"file", b"new", target_in="locked"),
        "ROFS": _rename(b"file", b"new", source_volume="read-only", target_volume="read-only"),
    },
    Proc.LINK: {
        "EXIST": _link("file", b"sub"),
        "PERM": _link("sub", b"new"),
        "XDEV": _link("file", b"new", into="other"),
        "NOTDIR": _link("file", b"new", "file"),
        "NAMETOOLONG": _link("file", LONG),
        "ACCES": _link("file", b"new", "locked"),
        "ROFS": _link("file", b"new", volume="read-only"),
    },
    Proc.READDIR: {
        "NOTDIR": _readdir("file"),
        "TOOSMALL": _readdir("sub", count=8),
        "BAD_COOKIE": _readdir("sub", cookie=BEYOND),
        "ACCES": _readdir("locked"),
    },
    Proc.READDIRPLUS: {
        "NOTDIR": _readdirplus("file"),
        "TOOSMALL": _readdirplus("sub", count=8),
        "BAD_COOKIE": _readdirplus("sub", cookie=5, verifier=b"another!"),
        "ACCES": _readdirplus("locked"),
    },
}  # fmt: skip

CASES = [(proc, name, call) for proc, calls in PROVOKED.items() for name, call in calls.items()]


@pytest.mark.parametrize(("proc", "name", "call"), CASES, ids=[f"{proc.name}-{name}" for proc, name, _ in CASES])
def test_a_documented_error_is_answered(world: World, proc: Proc, name: str, call: Call) -> None:
    assert world.peer.status(proc, call(world)) is Nfsstat3[f"NFS3ERR_{name}"]


def test_every_documented_error_but_the_hosts_is_provoked_here() -> None:
    documented: dict[Proc, set[str]] = {}
    for heading, found in tables(DOCS / "nfs-support.md").items():
        number, _, word = heading.partition(" ")
        rows = [
            row for table in found for row in table if row[0].startswith("NFS3ERR_") and row[-1] in ("call", "volume")
        ]
        if number.isdecimal() and rows:
            documented[Proc[word]] = {row[0].removeprefix("NFS3ERR_") for row in rows}
    assert documented == {proc: set(calls) for proc, calls in PROVOKED.items()}


# ---- the same for every procedure ----


def _about(proc: Proc, handle: bytes) -> Struct:
    """A call of this procedure about that handle."""
    where = t.Diropargs3(handle, b"name")
    calls: dict[Proc, Struct] = {
        Proc.SETATTR: t.Setattr3Args(handle, t.Sattr3(mode=0o600)),
        Proc.ACCESS: t.Access3Args(handle, 63),
        Proc.READ: t.Read3Args(handle, 0, 1),
        Proc.WRITE: t.Write3Args(handle, 0, 1, StableHow.UNSTABLE, b"x"),
        Proc.CREATE: t.Create3Args(where, (Createmode3.GUARDED, t.Sattr3(), None)),
        Proc.MKDIR: t.Mkdir3Args(where, t.Sattr3()),
        Proc.SYMLINK: t.Symlink3Args(where, t.Sattr3(), b"target"),
        Proc.MKNOD: t.Mknod3Args(where, (Ftype3.NF3FIFO, t.Sattr3(), None)),
        Proc.RENAME: t.Rename3Args(where, where),
        Proc.LINK: t.Link3Args(handle, where),
        Proc.READDIR: t.Readdir3Args(handle, 0, bytes(8), 4096),
        Proc.READDIRPLUS: t.Readdirplus3Args(handle, 0, bytes(8), 4096, 4096),
        Proc.COMMIT: t.Commit3Args(handle, 0, 0),
    }
    if proc in (Proc.LOOKUP, Proc.REMOVE, Proc.RMDIR):
        return t.Diropargs3Args(where)
    return calls.get(proc, t.Object3Args(handle))


@pytest.mark.parametrize("proc", [proc for proc in Proc if proc is not Proc.NULL], ids=lambda proc: proc.name)
def test_a_handle_that_is_not_ours_is_bad_or_stale_for_every_procedure(world: World, proc: Proc) -> None:
    handle = world.at("sub")
    forged = handle[:-1] + bytes([handle[-1] ^ 1])
    assert world.peer.status(proc, _about(proc, handle[:-4])) is Nfsstat3.NFS3ERR_BADHANDLE
    assert world.peer.status(proc, _about(proc, forged)) is Nfsstat3.NFS3ERR_STALE
    world.peer.ok(Proc.RENAME, t.Rename3Args(t.Diropargs3(world.at(), b"empty"), t.Diropargs3(handle, b"empty")))
    gone = world.at("sub/empty")
    world.peer.ok(Proc.RMDIR, t.Diropargs3Args(t.Diropargs3(handle, b"empty")))
    assert world.peer.status(proc, _about(proc, gone)) is Nfsstat3.NFS3ERR_STALE


@pytest.mark.parametrize("path", ["sub", "fifo", "link"])
def test_commit_of_what_is_no_regular_file_is_an_io_error(world: World, path: str) -> None:
    assert world.peer.status(Proc.COMMIT, t.Commit3Args(world.at(path), 0, 0)) is Nfsstat3.NFS3ERR_IO


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"/t/plain/sub", "OK"),
        (b"//t/plain//sub/", "OK"),
        (b"/t/none", "ERR_NOENT"),
        (b"/t/plain/none", "ERR_NOENT"),
        (b"/t/plain/file", "ERR_NOTDIR"),
        (b"/t/plain/file/x", "ERR_NOTDIR"),
        (b"/t/plain/locked/inside", "ERR_ACCES"),
        (b"/t/plain/sub/..", "ERR_ACCES"),
        (b"/t/plain/link", "ERR_NOTDIR"),
        (b"/t/plain/" + LONG, "ERR_NAMETOOLONG"),
        (b"/t/plain/a\0b", "ERR_INVAL"),
        (b"/t/policy/locked", "ERR_ACCES"),
    ],
)
def test_mnt_answers_as_documented(world: World, path: bytes, status: str) -> None:
    assert world.peer.mnt(path).fhs_status is Mountstat3[f"MNT3_{status}" if status == "OK" else f"MNT3{status}"]
