"""CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK."""

import os
import stat

import pytest

from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Createmode3, Ftype3, Nfsstat3, Proc
from nfsd.xdr import Struct
from tests.nfsd.procedures.conftest import Mounted
from tests.support.served import local

EXIST = Nfsstat3.NFS3ERR_EXIST


def _create(nfs: Mounted, name: bytes, how: Createmode3, verf: bytes | None = None, **attributes: int) -> Struct:
    sattr = None if how is Createmode3.EXCLUSIVE else t.Sattr3(**attributes)
    return t.Create3Args(t.Diropargs3(nfs.root, name), (how, sattr, verf))


def test_create_makes_a_file_and_tells_all_about_it(nfs: Mounted) -> None:
    before = nfs.peer.getattr(nfs.root)
    body = nfs.peer.ok(Proc.CREATE, _create(nfs, b"new", Createmode3.UNCHECKED, mode=0o666))
    assert body.obj == nfs.peer.lookup(nfs.root, b"new")
    assert body.obj_attributes == nfs.peer.getattr(body.obj)
    assert body.obj_attributes.mode == 0o666, "the client has applied its umask already"
    assert body.dir_wcc.before == t.WccAttr(before.size, before.mtime, before.ctime)
    assert body.dir_wcc.after == nfs.peer.getattr(nfs.root)


def test_unchecked_takes_the_existing_file_and_guarded_does_not(nfs: Mounted) -> None:
    (nfs.path / "there").write_bytes(b"content")
    handle = nfs.peer.lookup(nfs.root, b"there")
    assert nfs.peer.status(Proc.CREATE, _create(nfs, b"there", Createmode3.GUARDED, mode=0o600)) is EXIST
    assert nfs.peer.ok(Proc.CREATE, _create(nfs, b"there", Createmode3.UNCHECKED, mode=0o600)).obj == handle
    assert (nfs.path / "there").read_bytes() == b"content"
    assert nfs.peer.ok(Proc.CREATE, _create(nfs, b"there", Createmode3.UNCHECKED, size=0)).obj == handle
    assert (nfs.path / "there").read_bytes() == b""


def test_an_exclusive_create_succeeds_again_with_its_own_verifier_only(nfs: Mounted) -> None:
    mine, others = b"verifier", b"reifirev"
    first = nfs.peer.ok(Proc.CREATE, _create(nfs, b"lock", Createmode3.EXCLUSIVE, mine))
    assert nfs.peer.ok(Proc.CREATE, _create(nfs, b"lock", Createmode3.EXCLUSIVE, mine)).obj == first.obj
    assert nfs.peer.status(Proc.CREATE, _create(nfs, b"lock", Createmode3.EXCLUSIVE, others)) is EXIST


def test_create_on_a_directory_a_fifo_or_a_link_opens_nothing(nfs: Mounted) -> None:
    (nfs.path / "dir").mkdir()
    os.mkfifo(nfs.path / "fifo")
    os.symlink("/etc/passwd", nfs.path / "link")
    for name in (b"dir", b"fifo", b"link"):
        status = nfs.peer.status(Proc.CREATE, _create(nfs, name, Createmode3.UNCHECKED, size=0))
        assert status in (EXIST, Nfsstat3.NFS3ERR_ISDIR, Nfsstat3.NFS3ERR_INVAL)


def test_mkdir_symlink_and_mknod(nfs: Mounted) -> None:
    sub = nfs.peer.mkdir(nfs.root, b"sub", 0o751)
    assert (nfs.peer.getattr(sub).type, nfs.peer.getattr(sub).mode) == (Ftype3.NF3DIR, 0o751)
    where = t.Diropargs3(sub, b"link")
    link = nfs.peer.ok(Proc.SYMLINK, t.Symlink3Args(where, t.Sattr3(mode=0o777), b"../../\xff anything"))
    assert os.readlink(os.fsencode(nfs.path / "sub" / "link")) == b"../../\xff anything"
    assert link.obj_attributes.type is Ftype3.NF3LNK
    for kind, name, mode in (
        (Ftype3.NF3FIFO, b"fifo", stat.S_IFIFO),
        (Ftype3.NF3SOCK, b"socket", stat.S_IFSOCK),
    ):
        what = (kind, t.Sattr3(mode=0o640), None)
        body = nfs.peer.ok(Proc.MKNOD, t.Mknod3Args(t.Diropargs3(sub, name), what))
        assert (body.obj_attributes.type, body.obj_attributes.mode) == (kind, 0o640)
        assert stat.S_IFMT(os.lstat(nfs.path / "sub" / os.fsdecode(name)).st_mode) == mode


def test_devices_are_refused_and_plain_files_have_a_procedure_of_their_own(nfs: Mounted) -> None:
    where = t.Diropargs3(nfs.root, b"it")
    for kind in (Ftype3.NF3CHR, Ftype3.NF3BLK):
        arguments = t.Mknod3Args(where, (kind, t.Sattr3(mode=0o600), t.Specdata3(1, 3)))
        assert nfs.peer.status(Proc.MKNOD, arguments) is Nfsstat3.NFS3ERR_PERM
    for kind in (Ftype3.NF3REG, Ftype3.NF3DIR, Ftype3.NF3LNK):
        arguments = t.Mknod3Args(where, (kind, None, None))
        assert nfs.peer.status(Proc.MKNOD, arguments) is Nfsstat3.NFS3ERR_BADTYPE
    assert os.listdir(nfs.path) == []


def test_remove_and_rmdir_know_what_they_are_for(nfs: Mounted) -> None:
    nfs.peer.create(nfs.root, b"file")
    sub = nfs.peer.mkdir(nfs.root, b"sub")
    nfs.peer.create(sub, b"inside")

    def rmdir(directory: bytes, name: bytes) -> Nfsstat3:
        return nfs.peer.status(Proc.RMDIR, t.Diropargs3Args(t.Diropargs3(directory, name)))

    assert nfs.peer.remove(nfs.root, b"sub") in (Nfsstat3.NFS3ERR_ISDIR, Nfsstat3.NFS3ERR_PERM)
    assert rmdir(nfs.root, b"file") is Nfsstat3.NFS3ERR_NOTDIR
    assert rmdir(nfs.root, b"sub") is Nfsstat3.NFS3ERR_NOTEMPTY
    assert nfs.peer.remove(nfs.root, b"missing") is Nfsstat3.NFS3ERR_NOENT
    assert nfs.peer.remove(sub, b"inside") is Nfsstat3.NFS3_OK
    assert rmdir(nfs.root, b"sub") is Nfsstat3.NFS3_OK
    assert nfs.peer.remove(nfs.root, b"file") is Nfsstat3.NFS3_OK
    assert os.listdir(nfs.path) == []


def _rename(nfs: Mounted, from_: tuple[bytes, bytes], to: tuple[bytes, bytes]) -> t.Rename3Args:
    return t.Rename3Args(t.Diropargs3(*from_), t.Diropargs3(*to))


def test_rename_moves_replaces_and_keeps_the_handle(nfs: Mounted) -> None:
    sub = nfs.peer.mkdir(nfs.root, b"sub")
    file = nfs.peer.create(nfs.root, b"file")
    nfs.peer.create(sub, b"target")
    root_before, sub_before = nfs.peer.getattr(nfs.root), nfs.peer.getattr(sub)
    body = nfs.peer.ok(Proc.RENAME, _rename(nfs, (nfs.root, b"file"), (sub, b"target")))
    assert (body.fromdir_wcc.after, body.todir_wcc.after) == (nfs.peer.getattr(nfs.root), nfs.peer.getattr(sub))
    assert nfs.peer.lookup(sub, b"target") == file
    assert nfs.peer.getattr(file).nlink == 1
    assert nfs.peer.names(nfs.root)[2:] == [b"sub"]
    assert body.fromdir_wcc.before == t.WccAttr(root_before.size, root_before.mtime, root_before.ctime)
    assert body.todir_wcc.before == t.WccAttr(sub_before.size, sub_before.mtime, sub_before.ctime)


def test_a_directory_cannot_be_moved_into_itself(nfs: Mounted) -> None:
    sub = nfs.peer.mkdir(nfs.root, b"sub")
    arguments = _rename(nfs, (nfs.root, b"sub"), (sub, b"below"))
    assert nfs.peer.status(Proc.RENAME, arguments) is Nfsstat3.NFS3ERR_INVAL


def test_links_share_the_file_and_the_last_one_ends_it(nfs: Mounted) -> None:
    file = nfs.peer.create(nfs.root, b"one")
    body = nfs.peer.ok(Proc.LINK, t.Link3Args(file, t.Diropargs3(nfs.root, b"two")))
    assert body.file_attributes.nlink == 2
    assert nfs.peer.lookup(nfs.root, b"two") == file
    nfs.peer.remove(nfs.root, b"one")
    assert nfs.peer.getattr(file).nlink == 1
    nfs.peer.remove(nfs.root, b"two")
    assert nfs.peer.status(Proc.GETATTR, t.Object3Args(file)) is Nfsstat3.NFS3ERR_STALE


def test_nothing_goes_from_one_export_to_another(nfs: Mounted) -> None:
    other = nfs.path.with_name("other")
    other.mkdir()
    nfs.served.attach(lambda: local(other), b"/t/other", b"export-2", 8)
    there = nfs.peer.mount(b"/t/other")
    file = nfs.peer.create(nfs.root, b"file")
    assert nfs.peer.status(Proc.LINK, t.Link3Args(file, t.Diropargs3(there, b"x"))) is Nfsstat3.NFS3ERR_XDEV
    arguments = _rename(nfs, (nfs.root, b"file"), (there, b"x"))
    assert nfs.peer.status(Proc.RENAME, arguments) is Nfsstat3.NFS3ERR_XDEV
    assert os.listdir(other) == []


@pytest.mark.parametrize("name", [b"", b"a/b", b"a\0b", b".", b"..", b"x" * 256])
def test_names_that_cannot_be_made_or_removed(nfs: Mounted, name: bytes) -> None:
    file = nfs.peer.create(nfs.root, b"file")
    at = t.Diropargs3(nfs.root, name)
    fine = t.Diropargs3(nfs.root, b"fine")
    source = t.Diropargs3(nfs.root, b"file")
    dots = name in (b".", b"..")
    plain = Nfsstat3.NFS3ERR_NAMETOOLONG if len(name) > 255 else Nfsstat3.NFS3ERR_ACCES
    made = EXIST if dots else plain
    moved = Nfsstat3.NFS3ERR_INVAL if dots else plain
    expected: list[tuple[Proc, Struct, Nfsstat3]] = [
        (Proc.CREATE, t.Create3Args(at, (Createmode3.UNCHECKED, t.Sattr3(), None)), made),
        (Proc.MKDIR, t.Mkdir3Args(at, t.Sattr3()), made),
        (Proc.SYMLINK, t.Symlink3Args(at, t.Sattr3(), b"x"), made),
        (Proc.MKNOD, t.Mknod3Args(at, (Ftype3.NF3FIFO, t.Sattr3(), None)), made),
        (Proc.LINK, t.Link3Args(file, at), made),
        (Proc.REMOVE, t.Diropargs3Args(at), plain),
        (Proc.RMDIR, t.Diropargs3Args(at), {b".": moved, b"..": made}.get(name, plain)),
        (Proc.RENAME, t.Rename3Args(source, at), moved),
        (Proc.RENAME, t.Rename3Args(at, fine), moved),
    ]
    for proc, arguments, status in expected:
        assert nfs.peer.status(proc, arguments) is status, proc.name
    assert os.listdir(nfs.path) == ["file"]


def test_a_symlink_longer_than_a_path_can_be_is_refused(nfs: Mounted) -> None:
    arguments = t.Symlink3Args(t.Diropargs3(nfs.root, b"link"), t.Sattr3(), b"x" * 4096)
    assert nfs.peer.status(Proc.SYMLINK, arguments) is Nfsstat3.NFS3ERR_NAMETOOLONG


def test_a_failed_change_says_that_nothing_changed(nfs: Mounted) -> None:
    status, body = nfs.peer.nfs(Proc.REMOVE, t.Diropargs3Args(t.Diropargs3(nfs.root, b"missing")))
    assert status is Nfsstat3.NFS3ERR_NOENT
    now = nfs.peer.getattr(nfs.root)
    assert body.wcc == t.WccData(t.WccAttr(now.size, now.mtime, now.ctime), now)
