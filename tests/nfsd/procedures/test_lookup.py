"""LOOKUP and READLINK: one name at a time, and nowhere out of the volume."""

import os

import pytest

from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Ftype3, Nfsstat3, Proc
from tests.nfsd.procedures.conftest import Mounted


def _lookup(nfs: Mounted, directory: bytes, name: bytes) -> Nfsstat3:
    return nfs.peer.status(Proc.LOOKUP, t.Diropargs3Args(t.Diropargs3(directory, name)))


def test_lookup_returns_the_child_and_both_attributes(nfs: Mounted) -> None:
    (nfs.path / "sub").mkdir()
    body = nfs.peer.ok(Proc.LOOKUP, t.Diropargs3Args(t.Diropargs3(nfs.root, b"sub")))
    assert body.obj_attributes == nfs.peer.getattr(body.object)
    assert body.dir_attributes == nfs.peer.getattr(nfs.root)
    assert body.obj_attributes.type is Ftype3.NF3DIR


def test_names_are_any_bytes(nfs: Mounted) -> None:
    for name in (b"\xff\xfe\x80", b"new\nline", b" ", b"x" * 255, "grüß".encode()):
        handle = nfs.peer.create(nfs.root, name)
        assert nfs.peer.lookup(nfs.root, name) == handle
        assert name in os.listdir(os.fsencode(nfs.path))


def test_dot_is_the_directory_and_dotdot_its_parent_but_never_above_the_root(nfs: Mounted) -> None:
    sub = nfs.peer.mkdir(nfs.root, b"sub")
    assert nfs.peer.lookup(sub, b".") == sub
    assert nfs.peer.lookup(sub, b"..") == nfs.root
    assert nfs.peer.lookup(nfs.root, b"..") == nfs.root


@pytest.mark.parametrize(
    ("name", "status"),
    [
        (b"", Nfsstat3.NFS3ERR_ACCES),
        (b"a/b", Nfsstat3.NFS3ERR_ACCES),
        (b"/etc/passwd", Nfsstat3.NFS3ERR_ACCES),
        (b"../../etc/passwd", Nfsstat3.NFS3ERR_ACCES),
        (b"a\0b", Nfsstat3.NFS3ERR_ACCES),
        (b"x" * 256, Nfsstat3.NFS3ERR_NAMETOOLONG),
        (b"x" * 5000, Nfsstat3.NFS3ERR_NAMETOOLONG),
        (b"missing", Nfsstat3.NFS3ERR_NOENT),
    ],
)
def test_names_that_lead_nowhere(nfs: Mounted, name: bytes, status: Nfsstat3) -> None:
    assert _lookup(nfs, nfs.root, name) is status


def test_a_name_that_is_not_there_comes_with_the_directorys_attributes(nfs: Mounted) -> None:
    arguments = t.Diropargs3Args(t.Diropargs3(nfs.root, b"missing"))
    _, body = nfs.peer.nfs(Proc.LOOKUP, arguments)
    assert body.attributes == nfs.peer.getattr(nfs.root)


@pytest.mark.parametrize("name", [b"x", b".", b".."])
def test_lookup_in_what_is_no_directory(nfs: Mounted, name: bytes) -> None:
    file = nfs.peer.create(nfs.root, b"file")
    assert _lookup(nfs, file, name) is Nfsstat3.NFS3ERR_NOTDIR


def test_a_symlink_is_found_read_and_never_followed(nfs: Mounted) -> None:
    os.symlink("/etc", nfs.path / "out")
    link = nfs.peer.lookup(nfs.root, b"out")
    assert nfs.peer.getattr(link).type is Ftype3.NF3LNK
    assert nfs.peer.ok(Proc.READLINK, t.Object3Args(link)).data == b"/etc"
    assert _lookup(nfs, link, b"passwd") is Nfsstat3.NFS3ERR_NOTDIR


def test_readlink_of_a_file_is_invalid(nfs: Mounted) -> None:
    handle = nfs.peer.create(nfs.root, b"file")
    assert nfs.peer.status(Proc.READLINK, t.Object3Args(handle)) is Nfsstat3.NFS3ERR_INVAL


@pytest.mark.parametrize(
    ("handle", "status"),
    [
        (b"", Nfsstat3.NFS3ERR_BADHANDLE),
        (b"short", Nfsstat3.NFS3ERR_BADHANDLE),
        (bytes(32), Nfsstat3.NFS3ERR_STALE),
        (bytes(64), Nfsstat3.NFS3ERR_BADHANDLE),
    ],
)
def test_handles_nobody_was_given(nfs: Mounted, handle: bytes, status: Nfsstat3) -> None:
    assert nfs.peer.status(Proc.GETATTR, t.Object3Args(handle)) is status
    assert _lookup(nfs, handle, b"x") is status


def test_handles_of_one_export_do_not_open_another(nfs: Mounted) -> None:
    export_key, rest = nfs.root[:8], nfs.root[8:]
    assert nfs.peer.status(Proc.GETATTR, t.Object3Args(export_key[::-1] + rest)) is Nfsstat3.NFS3ERR_STALE


def test_a_removed_files_handle_is_stale(nfs: Mounted) -> None:
    handle = nfs.peer.create(nfs.root, b"file")
    assert nfs.peer.remove(nfs.root, b"file") is Nfsstat3.NFS3_OK
    assert nfs.peer.status(Proc.GETATTR, t.Object3Args(handle)) is Nfsstat3.NFS3ERR_STALE


def test_a_file_the_host_moved_keeps_its_handle(nfs: Mounted) -> None:
    handle = nfs.peer.create(nfs.root, b"file")
    (nfs.path / "deep" / "down").mkdir(parents=True)
    (nfs.path / "file").rename(nfs.path / "deep" / "down" / "elsewhere")
    nfs.peer.write(handle, 0, b"still mine")
    assert nfs.peer.getattr(handle).size == 10
    assert (nfs.path / "deep" / "down" / "elsewhere").read_bytes() == b"still mine"


def test_a_file_never_opened_that_the_host_moved_is_searched_for(nfs: Mounted) -> None:
    (nfs.path / "file").write_bytes(b"content")
    handle = nfs.peer.lookup(nfs.root, b"file")
    (nfs.path / "deep").mkdir()
    (nfs.path / "file").rename(nfs.path / "deep" / "elsewhere")
    assert nfs.peer.getattr(handle).size == 7
    (nfs.path / "deep").rename(nfs.path / "shallow")
    assert nfs.peer.read(handle, 0, 10).data == b"content"
    link = t.Link3Args(handle, t.Diropargs3(nfs.root, b"again"))
    (nfs.path / "shallow" / "elsewhere").rename(nfs.path / "shallow" / "renamed")
    assert nfs.peer.ok(Proc.LINK, link).file_attributes.nlink == 2


def test_a_file_the_host_removed_is_stale(nfs: Mounted) -> None:
    (nfs.path / "file").write_bytes(b"content")
    handle = nfs.peer.lookup(nfs.root, b"file")
    (nfs.path / "file").unlink()
    assert nfs.peer.status(Proc.GETATTR, t.Object3Args(handle)) is Nfsstat3.NFS3ERR_STALE
