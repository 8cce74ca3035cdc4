"""The export table: attach and detach in one step, and a cache of handles that forgets without losing."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nfsd.errors import Nfs3Error
from nfsd.exports import Export, ExportTable, KnownHandles, Searching, export_path
from nfsd.nfs3.const import Nfsstat3
from nfsd.vfs.interface import Caller, Node
from nfsd.vfs.local import LocalFileSystem

SECRET = bytes(16)
CALLER = Caller(0, 0)


@pytest.fixture
async def fs(tmp_path: Path) -> AsyncIterator[LocalFileSystem]:
    fs = LocalFileSystem(str(tmp_path), durability="host")
    yield fs
    await fs.close()


def _node(number: int) -> Node:
    return Node(number, 0, 0o100000)


async def test_a_detached_exports_handles_are_stale_at_once(fs: LocalFileSystem) -> None:
    table = ExportTable(SECRET)
    export = Export(b"/t/v", b"12345678", fs, 1)
    table.attach(export)
    handle = table.handle(export, fs.root)
    assert table.resolve(handle) == (export, fs.root)
    assert table.detach(b"/t/v") is export
    with pytest.raises(Nfs3Error) as stale:
        table.resolve(handle)
    assert stale.value.status is Nfsstat3.NFS3ERR_STALE
    assert table.known(handle) is None
    assert len(table) == 0


async def test_two_attachments_of_one_volume_have_handles_of_their_own(fs: LocalFileSystem) -> None:
    table = ExportTable(SECRET)
    one, other = Export(b"/t/v", b"11111111", fs, 1), Export(b"/t/ro", b"22222222", fs, 1)
    table.attach(one)
    table.attach(other)
    assert table.handle(one, fs.root) != table.handle(other, fs.root)
    assert table.resolve(table.handle(other, fs.root)) == (other, fs.root)


async def test_a_path_and_a_key_can_be_attached_once(fs: LocalFileSystem) -> None:
    table = ExportTable(SECRET)
    table.attach(Export(b"/t/v", b"11111111", fs, 1))
    with pytest.raises(ValueError, match="attached already"):
        table.attach(Export(b"/t/v", b"22222222", fs, 1))
    with pytest.raises(ValueError, match="in use by"):
        table.attach(Export(b"/t/w", b"11111111", fs, 1))
    assert [export.path for export in table] == [b"/t/v"]


async def test_detaching_what_is_not_attached_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        ExportTable(SECRET).detach(b"/t/v")


@pytest.mark.parametrize(
    ("path", "key", "fsid", "said"),
    [
        (b"t/v", b"12345678", 1, "absolute"),
        (b"/t//v", b"12345678", 1, "absolute"),
        (b"/t/v/", b"12345678", 1, "absolute"),
        (b"/" + b"x" * 1024, b"12345678", 1, "1025 bytes"),
        (b"/t/v", b"1234567", 1, "7 bytes"),
        (b"/t/v", b"12345678", 1 << 64, "64 bits"),
        (b"/t/v", b"12345678", -1, "64 bits"),
    ],
)
async def test_an_export_that_cannot_work_is_refused(
    fs: LocalFileSystem, path: bytes, key: bytes, fsid: int, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Export(path, key, fs, fsid)


async def test_mount_paths_find_the_longest_export_and_the_rest(fs: LocalFileSystem) -> None:
    table = ExportTable(SECRET)
    short, long = Export(b"/t", b"11111111", fs, 1), Export(b"/t/v", b"22222222", fs, 2)
    table.attach(short)
    table.attach(long)
    assert table.mounted_at(b"/t/v") == (long, [])
    assert table.mounted_at(b"//t//v/") == (long, [])
    assert table.mounted_at(b"/t/v/a/b") == (long, [b"a", b"b"])
    assert table.mounted_at(b"/t/w") == (short, [b"w"])
    with pytest.raises(KeyError):
        table.mounted_at(b"/")
    with pytest.raises(KeyError):
        table.mounted_at(b"/tt")


def test_the_one_spelling_of_a_path() -> None:
    assert export_path(b"//a///b/") == b"/a/b"
    assert export_path(b"") == b"/"


async def test_a_forgotten_handle_is_found_again(tmp_path: Path, fs: LocalFileSystem) -> None:
    (tmp_path / "file").write_bytes(b"x")
    old = ExportTable(SECRET)
    export = Export(b"/t/v", b"12345678", fs, 1)
    old.attach(export)
    node, _ = fs.lookup(CALLER, fs.root, b"file")
    handle = old.handle(export, node)
    restarted_fs = LocalFileSystem(str(tmp_path), durability="host")
    restarted = ExportTable(SECRET)
    again = Export(b"/t/v", b"12345678", restarted_fs, 1)
    restarted.attach(again)
    with pytest.raises(Searching) as searching:
        restarted.resolve(handle)
    found = await searching.value.node
    assert (found.fileid, found.generation) == (node.fileid, node.generation)
    assert restarted.resolve(handle) == (again, found)
    await restarted_fs.close()


def test_known_handles_stay_within_their_bound_and_keep_what_is_used() -> None:
    known = KnownHandles(8)
    nodes = [_node(number) for number in range(100)]
    for number, node in enumerate(nodes):
        known.add(b"%d" % number, node)
        assert known.node(b"0") is nodes[0]
        assert known.handle(nodes[0]) == b"0"
        assert len(known) <= 8
    assert known.node(b"99") is nodes[99]
    assert known.node(b"50") is None
    assert known.handle(nodes[50]) is None


async def test_the_exports_share_one_bound(fs: LocalFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nfsd.exports.KNOWN_HANDLES_MAX", 10_000)
    table = ExportTable(SECRET)
    exports = [Export(b"/%d" % number, b"key-%04d" % number, fs, 1) for number in range(5)]
    for export in exports:
        table.attach(export)
    assert {export.known.maximum for export in exports} == {4096}
    for export in exports[1:]:
        table.detach(export.path)
    assert exports[0].known.maximum == 10_000
