"""GETATTR, SETATTR, ACCESS."""

import os
import stat

import pytest

from nfsd.nfs3 import types as t
from nfsd.nfs3.const import (
    ACCESS3_ALL,
    ACCESS3_DELETE,
    ACCESS3_EXECUTE,
    ACCESS3_EXTEND,
    ACCESS3_LOOKUP,
    ACCESS3_MODIFY,
    ACCESS3_READ,
    Ftype3,
    Nfsstat3,
    Proc,
)
from tests.nfsd.procedures.conftest import Mounted
from tests.support.served import GID, UID


def test_getattr_shows_the_hosts_file_with_the_squashed_owner_and_the_volumes_fsid(nfs: Mounted) -> None:
    path = nfs.path / "file"
    path.write_bytes(b"x" * 5000)
    path.chmod(0o640)
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    host = path.stat()
    attributes = nfs.peer.getattr(nfs.peer.lookup(nfs.root, b"file"))
    assert (attributes.type, attributes.mode, attributes.nlink) == (Ftype3.NF3REG, 0o640, 1)
    assert (attributes.uid, attributes.gid, attributes.fsid) == (UID, GID, 7)
    assert (attributes.size, attributes.used, attributes.fileid) == (5000, host.st_blocks * 512, host.st_ino)
    assert (attributes.atime.ns, attributes.mtime.ns, attributes.ctime.ns) == (
        1_000_000_001,
        2_000_000_002,
        host.st_ctime_ns,
    )


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (t.Sattr3(mode=0o600), ("mode", 0o600)),
        (t.Sattr3(size=3), ("size", 3)),
        (t.Sattr3(size=30), ("size", 30)),
        (t.Sattr3(atime_ns=5_000_000_007), ("atime", t.Nfstime3(5, 7))),
        (t.Sattr3(mtime_ns=6_000_000_008), ("mtime", t.Nfstime3(6, 8))),
        (t.Sattr3(uid=UID, gid=GID), ("uid", UID)),
        (t.Sattr3(), ("size", 10)),
    ],
)
def test_setattr_changes_what_it_names_and_tells_before_and_after(
    nfs: Mounted, attributes: t.Sattr3, expected: tuple[str, object]
) -> None:
    (nfs.path / "file").write_bytes(b"0123456789")
    handle = nfs.peer.lookup(nfs.root, b"file")
    before = nfs.peer.getattr(handle)
    wcc = nfs.peer.setattr(handle, attributes)
    after = nfs.peer.getattr(handle)
    name, value = expected
    assert getattr(after, name) == value
    assert wcc.after == after
    assert wcc.before == t.WccAttr(before.size, before.mtime, before.ctime)


def test_setattr_to_the_servers_time_is_now(nfs: Mounted) -> None:
    (nfs.path / "file").write_bytes(b"")
    os.utime(nfs.path / "file", ns=(1, 1))
    handle = nfs.peer.lookup(nfs.root, b"file")
    nfs.peer.setattr(handle, t.Sattr3(atime_ns=t.SERVER_TIME, mtime_ns=t.SERVER_TIME))
    after = nfs.peer.getattr(handle)
    assert after.mtime == after.ctime
    assert after.atime == after.ctime


def test_a_guard_that_does_not_match_changes_nothing(nfs: Mounted) -> None:
    (nfs.path / "file").write_bytes(b"0123456789")
    handle = nfs.peer.lookup(nfs.root, b"file")
    ctime = nfs.peer.getattr(handle).ctime
    stale = t.Nfstime3(ctime.seconds, (ctime.nseconds + 1) % t.NS)
    arguments = t.Setattr3Args(handle, t.Sattr3(size=0), stale)
    assert nfs.peer.status(Proc.SETATTR, arguments) is Nfsstat3.NFS3ERR_NOT_SYNC
    assert (nfs.path / "file").read_bytes() == b"0123456789"
    nfs.peer.setattr(handle, t.Sattr3(size=0), ctime)
    assert (nfs.path / "file").read_bytes() == b""


def test_setattr_size_of_a_directory_is_refused(nfs: Mounted) -> None:
    status = nfs.peer.status(Proc.SETATTR, t.Setattr3Args(nfs.root, t.Sattr3(size=0)))
    assert status in (Nfsstat3.NFS3ERR_ISDIR, Nfsstat3.NFS3ERR_INVAL)


@pytest.mark.parametrize(
    ("mode", "directory", "granted"),
    [
        (0o400, False, ACCESS3_READ),
        (0o200, False, ACCESS3_MODIFY | ACCESS3_EXTEND),
        (0o100, False, ACCESS3_EXECUTE),
        (0o077, False, 0),
        (0o500, True, ACCESS3_READ | ACCESS3_LOOKUP),
        (0o200, True, ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_DELETE),
        (0o600, True, ACCESS3_READ | ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_DELETE),
        (0o700, True, ACCESS3_ALL & ~ACCESS3_EXECUTE),
        (0o300, True, ACCESS3_LOOKUP | ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_DELETE),
    ],
)
def test_access_follows_the_owners_bits(nfs: Mounted, mode: int, directory: bool, granted: int) -> None:
    handle = nfs.peer.mkdir(nfs.root, b"it") if directory else nfs.peer.create(nfs.root, b"it")
    nfs.peer.setattr(handle, t.Sattr3(mode=mode))
    body = nfs.peer.ok(Proc.ACCESS, t.Access3Args(handle, ACCESS3_ALL))
    assert body.access == granted
    assert body.obj_attributes == nfs.peer.getattr(handle)
    assert nfs.peer.ok(Proc.ACCESS, t.Access3Args(handle, ACCESS3_READ)).access == granted & ACCESS3_READ


def test_an_owner_locked_out_by_chmod_can_let_himself_in_again(nfs: Mounted) -> None:
    handle = nfs.peer.mkdir(nfs.root, b"locked")
    nfs.peer.create(handle, b"inside")
    nfs.peer.setattr(handle, t.Sattr3(mode=0))
    assert nfs.peer.getattr(handle).mode == 0
    arguments = t.Diropargs3Args(t.Diropargs3(handle, b"inside"))
    assert nfs.peer.status(Proc.LOOKUP, arguments) is Nfsstat3.NFS3ERR_ACCES
    nfs.peer.setattr(handle, t.Sattr3(mode=0o700))
    nfs.peer.lookup(handle, b"inside")


def test_special_mode_bits_are_shown_and_never_reach_the_host(nfs: Mounted) -> None:
    handle = nfs.peer.create(nfs.root, b"suid")
    nfs.peer.setattr(handle, t.Sattr3(mode=0o6755))
    assert nfs.peer.getattr(handle).mode == 0o6755
    assert not stat.S_IMODE((nfs.path / "suid").stat().st_mode) & 0o6000
