"""MOUNT: from a path to a handle, and never out of the export."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsd.mount3.types import MOUNT_PROGRAM, Exports, MountList, MountProc, Mountstat3
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Nfsstat3, Proc
from nfsd.xdr import Packer
from tests.support.peer import Peer
from tests.support.served import Served, local


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "v" / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "v" / "file").touch()
    os.symlink("/etc", tmp_path / "v" / "out")
    os.symlink("sub", tmp_path / "v" / "in")
    with Served() as served:
        served.attach(lambda: local(tmp_path / "v"))
        yield served


def _mount_call(peer: Peer, proc: MountProc, path: bytes | None = None) -> bytes:
    packer = Packer()
    if path is not None:
        packer.opaque(path)
    return peer.call(proc, bytes(packer), prog=MOUNT_PROGRAM)


@pytest.mark.parametrize("path", [b"/t/v", b"/t/v/", b"//t//v"])
def test_an_export_is_mounted_by_its_path(served: Served, path: bytes) -> None:
    peer = served.peer()
    result = peer.mnt(path)
    assert result.mountinfo is not None
    assert 1 in result.mountinfo.auth_flavors
    assert {b"sub", b"file"} <= set(peer.names(result.mountinfo.fhandle))


def test_a_directory_below_an_export_can_be_mounted_and_has_the_handle_lookup_gives(served: Served) -> None:
    peer = served.peer()
    assert peer.mount(b"/t/v/sub/deep") == peer.walk(peer.mount(b"/t/v"), b"sub/deep")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"", Mountstat3.MNT3ERR_NOENT),
        (b"/", Mountstat3.MNT3ERR_NOENT),
        (b"/t", Mountstat3.MNT3ERR_NOENT),
        (b"/t/vv", Mountstat3.MNT3ERR_NOENT),
        (b"/etc", Mountstat3.MNT3ERR_NOENT),
        (b"/t/v/missing", Mountstat3.MNT3ERR_NOENT),
        (b"/t/v/file", Mountstat3.MNT3ERR_NOTDIR),
        (b"/t/v/file/x", Mountstat3.MNT3ERR_NOTDIR),
        (b"/t/v/out", Mountstat3.MNT3ERR_NOTDIR),
        (b"/t/v/out/ssl", Mountstat3.MNT3ERR_NOTDIR),
        (b"/t/v/in/deep", Mountstat3.MNT3ERR_NOTDIR),
        (b"/t/v/..", Mountstat3.MNT3ERR_ACCES),
        (b"/t/v/../v", Mountstat3.MNT3ERR_ACCES),
        (b"/t/v/sub/./deep", Mountstat3.MNT3ERR_ACCES),
    ],
)
def test_paths_that_are_no_directory_of_an_export(served: Served, path: bytes, status: Mountstat3) -> None:
    assert served.peer().mnt(path).fhs_status is status


def test_an_export_can_be_mounted_from_attach_to_detach_only(served: Served, tmp_path: Path) -> None:
    peer = served.peer()
    (tmp_path / "w").mkdir()
    assert peer.mnt(b"/t/w").fhs_status is Mountstat3.MNT3ERR_NOENT
    served.attach(lambda: local(tmp_path / "w"), b"/t/w", b"export-w")
    handle = peer.mount(b"/t/w")
    file = peer.create(handle, b"file")
    served.do(lambda: served.exports.detach(b"/t/w"))
    assert peer.mnt(b"/t/w").fhs_status is Mountstat3.MNT3ERR_NOENT
    for stale in (handle, file):
        assert peer.status(Proc.GETATTR, t.Object3Args(stale)) is Nfsstat3.NFS3ERR_STALE
    peer.mount(b"/t/v")


def test_dump_umnt_and_umntall_keep_the_list(served: Served) -> None:
    peer = served.peer()

    def mounts() -> list[bytes]:
        return [mount.ml_directory for mount in MountList.from_bytes(_mount_call(peer, MountProc.DUMP)).mounts]

    assert mounts() == []
    for path in (b"/t/v", b"/t/v/sub", b"/t/v"):
        peer.mount(path)
    assert mounts() == [b"/t/v", b"/t/v/sub"]
    assert _mount_call(peer, MountProc.UMNT, b"/t/v") == b""
    assert mounts() == [b"/t/v/sub"]
    assert _mount_call(peer, MountProc.UMNTALL) == b""
    assert mounts() == []


def test_the_list_of_mounts_is_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nfsd.mount3.program.MOUNT_LIST_ENTRIES_MAX", 3)
    peer = served.peer()
    for slashes in range(6):
        peer.mount(b"/" * (slashes + 1) + b"t/v")
    mounts = MountList.from_bytes(_mount_call(peer, MountProc.DUMP)).mounts
    assert [mount.ml_directory for mount in mounts] == [b"/" * count + b"t/v" for count in (4, 5, 6)]


def test_export_lists_what_is_attached(served: Served) -> None:
    exports = Exports.from_bytes(_mount_call(served.peer(), MountProc.EXPORT)).exports
    assert [(export.ex_dir, export.ex_groups) for export in exports] == [(b"/t/v", ())]


def test_null_answers_nothing(served: Served) -> None:
    assert _mount_call(served.peer(), MountProc.NULL) == b""
