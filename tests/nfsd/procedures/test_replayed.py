"""A retransmission is answered as the first was, and done once."""

import os

import pytest

from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Createmode3, Ftype3, Nfsstat3, Proc
from nfsd.xdr import Struct
from tests.nfsd.procedures.conftest import Mounted

XID = 0x7E57


def _twice(nfs: Mounted, proc: Proc, arguments: Struct) -> bytes:
    """Send a call, lose the connection after the work, and send it again from a new one: the answer to the second."""
    first = nfs.peer.call(proc, bytes(arguments), xid=XID)
    nfs.peer.close()
    nfs.peer = nfs.served.peer()
    again = nfs.peer.call(proc, bytes(arguments), xid=XID)
    assert again == first
    return again


@pytest.mark.parametrize(
    "proc", [Proc.CREATE, Proc.MKDIR, Proc.SYMLINK, Proc.MKNOD, Proc.REMOVE, Proc.RMDIR, Proc.RENAME, Proc.LINK]
)
def test_a_repeated_call_gets_the_first_answer(nfs: Mounted, proc: Proc) -> None:
    file = nfs.peer.create(nfs.root, b"file")
    nfs.peer.mkdir(nfs.root, b"empty")
    new = t.Diropargs3(nfs.root, b"new")
    arguments: dict[Proc, Struct] = {
        Proc.CREATE: t.Create3Args(new, (Createmode3.GUARDED, t.Sattr3(), None)),
        Proc.MKDIR: t.Mkdir3Args(new, t.Sattr3()),
        Proc.SYMLINK: t.Symlink3Args(new, t.Sattr3(), b"there"),
        Proc.MKNOD: t.Mknod3Args(new, (Ftype3.NF3FIFO, t.Sattr3(), None)),
        Proc.REMOVE: t.Diropargs3Args(t.Diropargs3(nfs.root, b"file")),
        Proc.RMDIR: t.Diropargs3Args(t.Diropargs3(nfs.root, b"empty")),
        Proc.RENAME: t.Rename3Args(t.Diropargs3(nfs.root, b"file"), new),
        Proc.LINK: t.Link3Args(file, new),
    }
    assert _twice(nfs, proc, arguments[proc])[:4] == bytes(4)
    assert nfs.served.server.stats.procedures.replayed == 1


def test_a_guarded_setattr_succeeds_again(nfs: Mounted) -> None:
    file = nfs.peer.create(nfs.root, b"file")
    guard = nfs.peer.getattr(file).ctime
    assert _twice(nfs, Proc.SETATTR, t.Setattr3Args(file, t.Sattr3(mode=0o600), guard))[:4] == bytes(4)


def test_the_same_xid_for_another_file_is_another_call(nfs: Mounted) -> None:
    for name in (b"one", b"two"):
        nfs.peer.create(nfs.root, name)
        arguments = t.Diropargs3Args(t.Diropargs3(nfs.root, name))
        assert nfs.peer.nfs(Proc.REMOVE, arguments, xid=XID)[0] is Nfsstat3.NFS3_OK
    assert os.listdir(nfs.path) == []


def test_a_refused_call_is_remembered_too(nfs: Mounted) -> None:
    arguments = t.Diropargs3Args(t.Diropargs3(nfs.root, b"later"))
    assert nfs.peer.nfs(Proc.REMOVE, arguments, xid=XID)[0] is Nfsstat3.NFS3ERR_NOENT
    nfs.peer.create(nfs.root, b"later")
    assert nfs.peer.nfs(Proc.REMOVE, arguments, xid=XID)[0] is Nfsstat3.NFS3ERR_NOENT
    assert os.listdir(nfs.path) == ["later"]


def test_calls_that_may_be_repeated_are_done_again(nfs: Mounted) -> None:
    file = nfs.peer.create(nfs.root, b"file")
    for content in (b"first", b"again"):
        (nfs.path / "file").write_bytes(content)
        results = nfs.peer.call(Proc.READ, bytes(t.Read3Args(file, 0, 5)), xid=XID)
        assert content in results
    assert nfs.served.server.stats.procedures.replayed == 0
