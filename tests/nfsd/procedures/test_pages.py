"""Kept pages of READDIRPLUS: what we did shows at once, what the host did in time, and memory stays bounded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nfsd.exports import Export, ExportTable
from nfsd.limits import PAGE_SECONDS_MAX
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Nfsstat3, Proc
from nfsd.nfs3.restypes import unpack_result
from nfsd.procedures.directory import DirectoryProcedures
from nfsd.procedures.pages import Page, Pages
from nfsd.vfs.interface import Caller, Node
from tests.nfsd.procedures.conftest import Mounted
from tests.support.clock import FakeClock
from tests.support.served import SECRET, local

CALLER = Caller(501, 20)


def _move_down(nfs: Mounted) -> bytes:
    """The rest happens in a directory of the root (the root is its own parent); returns one beside it."""
    beside = nfs.peer.mkdir(nfs.root, b"beside")
    nfs.root, nfs.path = nfs.peer.mkdir(nfs.root, b"place"), nfs.path / "place"
    return beside


def _names(nfs: Mounted) -> dict[bytes, Any]:
    """The root's entries by name, in one page."""
    arguments = t.Readdirplus3Args(nfs.root, 0, bytes(8), 1 << 20, 1 << 20)
    return {entry.name: entry for entry in nfs.peer.ok(Proc.READDIRPLUS, arguments).entries}


def _truncate(nfs: Mounted, handle: bytes) -> None:
    nfs.peer.setattr(handle, t.Sattr3(size=9 << 20))
    _names(nfs)
    nfs.peer.setattr(handle, t.Sattr3(size=0))  # by the pool


def _rename(nfs: Mounted, to: bytes) -> None:
    names = t.Diropargs3(nfs.root, b"file"), t.Diropargs3(nfs.root, to)
    assert nfs.peer.status(Proc.RENAME, t.Rename3Args(*names)) is Nfsstat3.NFS3_OK


def _link(nfs: Mounted, directory: bytes) -> None:
    file = nfs.peer.lookup(nfs.root, b"file")
    assert nfs.peer.status(Proc.LINK, t.Link3Args(file, t.Diropargs3(directory, b"link"))) is Nfsstat3.NFS3_OK


OPERATIONS: dict[str, Callable[[Mounted, bytes, bytes], object]] = {
    "write": lambda nfs, file, _: nfs.peer.write(file, 0, b"text"),
    "setattr": lambda nfs, file, _: nfs.peer.setattr(file, t.Sattr3(mode=0o600)),
    "chmod 000": lambda nfs, file, _: nfs.peer.setattr(file, t.Sattr3(mode=0)),
    "truncate": lambda nfs, file, _: _truncate(nfs, file),
    "chmod of a directory": lambda nfs, _, below: nfs.peer.setattr(below, t.Sattr3(mode=0o700)),
    "chmod of the listed one": lambda nfs, _, __: nfs.peer.setattr(nfs.root, t.Sattr3(mode=0o700)),
    "create": lambda nfs, _, __: nfs.peer.create(nfs.root, b"new"),
    "create below": lambda nfs, _, below: nfs.peer.create(below, b"new"),
    "mkdir": lambda nfs, _, __: nfs.peer.mkdir(nfs.root, b"new"),
    "mkdir below": lambda nfs, _, below: nfs.peer.mkdir(below, b"new"),
    "remove": lambda nfs, _, __: nfs.peer.remove(nfs.root, b"file"),
    "rename": lambda nfs, _, __: _rename(nfs, b"renamed"),
    "rename over another": lambda nfs, _, __: _rename(nfs, b"other"),
    "link": lambda nfs, _, __: _link(nfs, nfs.root),
    "link below": lambda nfs, _, below: _link(nfs, below),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_we_did_shows_in_the_next_listing(nfs: Mounted, operation: str) -> None:
    _move_down(nfs)
    file, below = nfs.peer.create(nfs.root, b"file"), nfs.peer.mkdir(nfs.root, b"below")
    nfs.peer.create(nfs.root, b"other")
    assert set(_names(nfs)) == {b".", b"..", b"file", b"below", b"other"}
    OPERATIONS[operation](nfs, file, below)
    listed = _names(nfs)
    for name in set(listed) - {b".."}:
        entry = listed[name]
        assert entry.name_attributes == nfs.peer.getattr(entry.name_handle), name
    assert {os.fsencode(name) for name in os.listdir(nfs.path)} == set(listed) - {b".", b".."}


def test_a_name_in_another_directory_and_a_write_by_it_show(nfs: Mounted) -> None:
    beside = _move_down(nfs)
    nfs.peer.create(nfs.root, b"file")
    assert _names(nfs)[b"file"].name_attributes.nlink == 1
    _link(nfs, beside)
    assert _names(nfs)[b"file"].name_attributes.nlink == 2
    nfs.peer.write(nfs.peer.lookup(beside, b"link"), 0, b"text")
    assert _names(nfs)[b"file"].name_attributes.size == 4
    nfs.peer.remove(beside, b"link")
    assert _names(nfs)[b"file"].name_attributes.nlink == 1


class Listed:
    """The procedure itself, on a local volume, with a clock in hand."""

    def __init__(self, path: Path) -> None:
        self.clock = FakeClock()
        self.fs = local(path)
        exports = ExportTable(SECRET)
        export = Export(path=b"/t/v", key=bytes(8), fs=self.fs, fsid=1)
        exports.attach(export)
        self.root = exports.handle(export, self.fs.root)
        self.procedures = DirectoryProcedures(exports, self.clock.monotonic)

    def modes(self) -> dict[bytes, int]:
        arguments = bytes(t.Readdirplus3Args(self.root, 0, bytes(8), 1 << 20, 1 << 20))
        body = self.procedures.readdirplus(CALLER, bytearray(arguments), 0, len(arguments))
        assert isinstance(body, list)
        answer: Any = unpack_result(Proc.READDIRPLUS, b"".join(body))[1]
        return {entry.name: entry.name_attributes.mode for entry in answer.entries}


async def test_what_the_host_did_to_a_file_shows_when_its_page_is_too_old(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o644)
    listed = Listed(tmp_path)
    assert listed.modes()[b"file"] == 0o644
    (tmp_path / "file").chmod(0o600)
    await listed.clock.advance(PAGE_SECONDS_MAX / 2)
    assert listed.modes()[b"file"] == 0o644, "the page was not kept"
    await listed.clock.advance(PAGE_SECONDS_MAX / 2)
    assert listed.modes()[b"file"] == 0o600
    await listed.fs.close()


async def test_a_name_the_host_removed_is_gone_with_the_next_listing(tmp_path: Path) -> None:
    for name in ("stays", "goes"):
        (tmp_path / name).touch()
    listed = Listed(tmp_path)
    assert set(listed.modes()) == {b".", b"..", b"stays", b"goes"}
    os.utime(tmp_path, ns=(0, 0))  # as if nothing had been done to it for long
    listed.modes()
    (tmp_path / "goes").unlink()
    assert set(listed.modes()) == {b".", b"..", b"stays"}
    await listed.fs.close()


def _key(number: int) -> Any:
    return (None, Node(number, 0, 0), 4, 1000, 1000, 2)


def test_pages_together_are_bounded_and_the_oldest_goes() -> None:
    pages = Pages(FakeClock().monotonic, bytes_max=10_000)
    keys = [_key(number) for number in range(4)]
    for key in keys:
        pages.keep(key, 1, Page(bytes(2000), True))
    assert [pages.get(key, 1) is not None for key in keys] == [False, True, True, True]
    pages.keep(keys[0], 1, Page(bytes(10_000), True))
    assert pages.get(keys[0], 1) is None
    assert pages.get(keys[1], 1) is not None


def test_a_page_without_a_version_or_of_another_is_not_sent() -> None:
    pages, key = Pages(FakeClock().monotonic), _key(1)
    pages.keep(key, None, Page(b"", True))
    assert pages.get(key, None) is None
    pages.keep(key, 1, Page(b"", True))
    assert pages.get(key, 2) is None
    assert pages.get(key, 1) is None, "another version throws it away"
