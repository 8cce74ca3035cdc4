"""Every other way to the errors of docs/nfs-support.md: where a row names several, and kinds of files and names, each
is provoked over the wire (the first of each row: test_documented_errors.py).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from nfsd.errors import Nfsstat3
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Createmode3, Ftype3, Proc
from nfsd.vfs.ledger import Ledger
from nfsd.vfs.local import LocalFileSystem
from nfsd.vfs.stack import SquashTo, build_stack
from tests.nfsd.procedures.test_documented_errors import (
    BEYOND,
    LONG,
    Call,
    World,
    _creating,
    _entry_call,
    _link,
    _linking,
    _making,
    _names,
    _node,
    _read,
    _readdir,
    _readdirplus,
    _rename,
    _setattr,
    _write,
)
from tests.nfsd.procedures.test_documented_errors import world as world
from tests.support.served import GID, UID, Served

_EXCLUSIVE = _names(lambda where: t.Create3Args(where, (Createmode3.EXCLUSIVE, None, b"verifier")))
_UNCHECKED = _creating(Createmode3.UNCHECKED)

CLAUSES: list[tuple[Proc, str, Call]] = [
    *((proc, "EXIST", make(name)) for proc, make in (
        (Proc.CREATE, _creating()), (Proc.MKDIR, _making()), (Proc.SYMLINK, _linking()), (Proc.MKNOD, _node()),
    ) for name in (b"sub", b"link", b"fifo", b".", b"..")),
    *((Proc.CREATE, "EXIST", _EXCLUSIVE(name)) for name in (b"file", b"sub", b"link", b"fifo", b".", b"..")),
    *((Proc.CREATE, "EXIST", _UNCHECKED(name)) for name in (b"link", b"fifo", b".", b"..")),
    *((proc, "ACCES", make(name)) for proc, make in (
        (Proc.LOOKUP, _entry_call), (Proc.CREATE, _creating()), (Proc.MKDIR, _making()), (Proc.SYMLINK, _linking()),
        (Proc.MKNOD, _node()), (Proc.REMOVE, _entry_call), (Proc.RMDIR, _entry_call),
    ) for name in (b"", b"a/b", b"a\0b")),
    *((proc, "ACCES", make(b"new", "sub", "policy")) for proc, make in (
        (Proc.CREATE, _creating()), (Proc.MKDIR, _making()), (Proc.SYMLINK, _linking()), (Proc.MKNOD, _node()),
    )),
    (Proc.LOOKUP, "ACCES", _entry_call(b"locked", volume="policy")),
    (Proc.CREATE, "ACCES", _UNCHECKED(b"inside", "locked")),
    (Proc.CREATE, "NOSPC", _creating(attributes=t.Sattr3(size=BEYOND))(b"new")),
    (Proc.SYMLINK, "NAMETOOLONG", _linking(b"t" * 4096)(b"new")),
    *((Proc.MKNOD, "BADTYPE", _node(kind)(b"new")) for kind in (Ftype3.NF3REG, Ftype3.NF3LNK)),
    (Proc.MKNOD, "PERM", _node(Ftype3.NF3BLK)(b"new")),
    *((Proc.SETATTR, "INVAL", _setattr(path, size=1)) for path in ("link", "fifo")),
    *((Proc.READ, "INVAL", _read(path)) for path in ("link", "fifo")),
    *((Proc.WRITE, "INVAL", _write(path)) for path in ("link", "fifo")),
    *((Proc.READLINK, "INVAL", (lambda w, path=path: t.Object3Args(w.at(path)))) for path in ("sub", "fifo")),
    *((Proc.REMOVE, "ACCES", _entry_call(name)) for name in (b".", b"..")),
    (Proc.REMOVE, "ACCES", _entry_call(b"child", "sub", "policy")),
    (Proc.RMDIR, "ACCES", _entry_call(b"below", "sub", "policy")),
    *((Proc.RMDIR, "NOTDIR", call) for call in (
        _entry_call(b"link"), _entry_call(b"fifo"), _entry_call(b"x", "file"),
    )),
    *((Proc.RENAME, "INVAL", call) for call in (
        _rename(b"sub", b"sub", target_in="sub"), _rename(b".", b"new"), _rename(b"..", b"new"), _rename(b"file", b"."),
        _rename(b"file", b".."),
    )),
    *((Proc.RENAME, "NOTDIR", call) for call in (
        _rename(b"x", b"new", source_in="file"), _rename(b"file", b"new", target_in="file"), _rename(b"empty", b"link"),
        _rename(b"empty", b"fifo"),
    )),
    *((Proc.RENAME, "ISDIR", _rename(name, b"empty")) for name in (b"link", b"fifo")),
    *((Proc.RENAME, "ACCES", call) for call in (
        _rename(b"inside", b"new", source_in="locked"), _rename(b"locked", b"new", target_in="sub"),
        _rename(b"child", b"new", source_in="sub", source_volume="policy", target_volume="policy"),
        _rename(b"", b"new"), _rename(b"file", b"a/b"),
    )),
    (Proc.RENAME, "NAMETOOLONG", _rename(LONG, b"new")),
    *((Proc.LINK, "EXIST", _link("file", name)) for name in (b"file", b"link", b".", b"..")),
    *((Proc.LINK, "ACCES", call) for call in (
        _link("file", b""), _link("file", b"a/b"), _link("sub/child", b"new", "drop", volume="policy"),
    )),
    (Proc.READDIR, "BAD_COOKIE", _readdir("sub", cookie=5, verifier=b"another!")),
    (Proc.READDIRPLUS, "BAD_COOKIE", _readdirplus("sub", cookie=BEYOND)),
]  # fmt: skip
"""What else the rows say: beside the first of each, the other ways to the same error."""


@pytest.mark.parametrize(
    ("proc", "name", "call"),
    CLAUSES,
    ids=[f"{proc.name}-{name}-{number}" for number, (proc, name, _) in enumerate(CLAUSES)],
)
def test_every_way_to_a_documented_error_leads_there(world: World, proc: Proc, name: str, call: Call) -> None:
    assert world.peer.status(proc, call(world)) is Nfsstat3[f"NFS3ERR_{name}"]


def test_what_may_not_fit_a_volume_that_is_still_counted_is_to_be_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(12))
    ledger = Ledger(1000)
    count = ledger.begin(tmp_path)
    with Served() as served:
        served.attach(
            lambda: build_stack(
                LocalFileSystem(tmp_path, durability="host"), identity=SquashTo(UID, GID), ledger=ledger
            )
        )
        peer = served.peer()
        root = peer.mount(b"/t/v")
        file = peer.lookup(root, b"file")
        longer = t.Setattr3Args(file, t.Sattr3(size=1000))
        assert peer.status(Proc.SETATTR, longer) is Nfsstat3.NFS3ERR_JUKEBOX
        assert peer.status(Proc.SETATTR, t.Setattr3Args(file, t.Sattr3(size=1001))) is Nfsstat3.NFS3ERR_NOSPC
        peer.write(file, 0, b"over what is")
        served.do(lambda: [ledger.merge(count.take()) for _ in range(4) if ledger.counting is not None])
        assert peer.status(Proc.SETATTR, longer) is Nfsstat3.NFS3_OK
