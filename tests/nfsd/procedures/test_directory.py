"""READDIR and READDIRPLUS: limits to the byte, cookies that stay good."""

import os
from typing import Any

import pytest

from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Nfsstat3, Proc
from tests.nfsd.procedures.conftest import Mounted

NO_VERIFIER = bytes(8)


def _readdir(nfs: Mounted, cookie: int = 0, verf: bytes = NO_VERIFIER, count: int = 8192) -> tuple[Nfsstat3, Any, int]:
    """Status, body, and the length of the resok."""
    xid = nfs.peer.send(Proc.READDIR, bytes(t.Readdir3Args(nfs.root, cookie, verf, count)))
    return _parsed(nfs, Proc.READDIR, xid)


def _readdirplus(
    nfs: Mounted, cookie: int = 0, verf: bytes = NO_VERIFIER, dircount: int = 8192, maxcount: int = 32768
) -> tuple[Nfsstat3, Any, int]:
    arguments = t.Readdirplus3Args(nfs.root, cookie, verf, dircount, maxcount)
    return _parsed(nfs, Proc.READDIRPLUS, nfs.peer.send(Proc.READDIRPLUS, bytes(arguments)))


def _parsed(nfs: Mounted, proc: Proc, xid: int) -> tuple[Nfsstat3, Any, int]:
    from nfsd.nfs3.restypes import unpack_result

    results = nfs.peer.reply(xid)
    return *unpack_result(proc, results), len(results) - 4


def _fill(nfs: Mounted, count: int) -> set[bytes]:
    names = {b"%0*d" % (1 + number % 40, number) for number in range(count)}
    for name in names:
        (nfs.path / os.fsdecode(name)).touch()
    return names


def test_an_empty_directory_has_itself_and_its_parent(nfs: Mounted) -> None:
    status, body, _ = _readdir(nfs)
    assert status is Nfsstat3.NFS3_OK
    fileid = nfs.peer.getattr(nfs.root).fileid
    assert [(entry.name, entry.fileid) for entry in body.entries] == [(b".", fileid), (b"..", fileid)]
    assert body.eof
    assert body.dir_attributes == nfs.peer.getattr(nfs.root)


@pytest.mark.parametrize("count", [200, 512, 4096, 65536])
def test_every_name_comes_once_whatever_the_limit_and_no_reply_is_larger(nfs: Mounted, count: int) -> None:
    names = _fill(nfs, 300)
    seen: list[bytes] = []
    cookie, verf, eof = 0, NO_VERIFIER, False
    while not eof:
        status, body, size = _readdir(nfs, cookie, verf, count)
        assert status is Nfsstat3.NFS3_OK
        assert size <= count
        seen += [entry.name for entry in body.entries]
        cookie, verf, eof = body.entries[-1].cookie, body.cookieverf, body.eof
    assert len(seen) == len(set(seen)) == len(names) + 2
    assert set(seen) == names | {b".", b".."}


def test_a_reply_is_as_full_as_the_limit_allows(nfs: Mounted) -> None:
    (nfs.path / "abcd").touch()
    _, body, size = _readdir(nfs)
    assert body.eof
    _, again, same = _readdir(nfs, count=size)
    assert (again.entries, again.eof, same) == (body.entries, True, size)
    _, short, _ = _readdir(nfs, count=size - 1)
    assert (short.entries, short.eof) == (body.entries[:-1], False)


def test_readdirplus_gives_handles_and_attributes_of_everything(nfs: Mounted) -> None:
    names = _fill(nfs, 50)
    status, body, size = _readdirplus(nfs)
    assert status is Nfsstat3.NFS3_OK
    assert body.eof
    assert size <= 32768
    assert {entry.name for entry in body.entries} == names | {b".", b".."}
    for entry in body.entries:
        assert entry.name_attributes == nfs.peer.getattr(entry.name_handle)
        assert entry.fileid == entry.name_attributes.fileid
        if entry.name not in (b".", b".."):
            assert nfs.peer.lookup(nfs.root, entry.name) == entry.name_handle


@pytest.mark.parametrize(("dircount", "maxcount"), [(8192, 1000), (512, 32768), (1, 32768), (100, 600)])
def test_readdirplus_keeps_both_limits_and_loses_no_name(nfs: Mounted, dircount: int, maxcount: int) -> None:
    names = _fill(nfs, 60)
    seen: list[bytes] = []
    cookie, verf, eof = 0, NO_VERIFIER, False
    while not eof:
        status, body, size = _readdirplus(nfs, cookie, verf, dircount, maxcount)
        assert status is Nfsstat3.NFS3_OK
        assert size <= maxcount
        names_bytes = sum(20 + (len(entry.name) + 3) // 4 * 4 for entry in body.entries)
        assert names_bytes <= dircount or len(body.entries) == 1
        seen += [entry.name for entry in body.entries]
        cookie, verf, eof = body.entries[-1].cookie, body.cookieverf, body.eof
    assert sorted(seen) == sorted(names | {b".", b".."})


@pytest.mark.parametrize("count", [0, 100, 130])
def test_a_limit_that_fits_no_entry_is_too_small(nfs: Mounted, count: int) -> None:
    assert _readdir(nfs, count=count)[0] is Nfsstat3.NFS3ERR_TOOSMALL
    assert _readdirplus(nfs, maxcount=count)[0] is Nfsstat3.NFS3ERR_TOOSMALL


def test_cookies_stay_good_while_names_come_and_go(nfs: Mounted) -> None:
    names = _fill(nfs, 100)
    _, first, _ = _readdir(nfs, count=1000)
    seen = {entry.name for entry in first.entries}
    left = sorted(names - seen)
    for name in sorted(seen - {b".", b".."}) + left[:20]:
        assert nfs.peer.remove(nfs.root, name) is Nfsstat3.NFS3_OK
    (nfs.path / "newcomer").touch()
    cookie, verf, eof = first.entries[-1].cookie, first.cookieverf, False
    rest: list[bytes] = []
    while not eof:
        status, body, _ = _readdir(nfs, cookie, verf, 1000)
        assert status is Nfsstat3.NFS3_OK
        rest += [entry.name for entry in body.entries]
        cookie, eof = (body.entries[-1].cookie if body.entries else cookie), body.eof
    assert set(rest) - {b"newcomer"} == set(left[20:])
    assert len(rest) == len(set(rest))


def test_somebody_elses_cookies_are_bad_and_a_client_without_verifiers_is_not(nfs: Mounted) -> None:
    _fill(nfs, 50)
    _, body, _ = _readdir(nfs, count=500)
    cookie = body.entries[-1].cookie
    foreign = bytes(byte ^ 0xFF for byte in body.cookieverf)
    assert _readdir(nfs, cookie, foreign)[0] is Nfsstat3.NFS3ERR_BAD_COOKIE
    assert _readdirplus(nfs, cookie, foreign)[0] is Nfsstat3.NFS3ERR_BAD_COOKIE
    assert _readdir(nfs, 0, foreign)[0] is Nfsstat3.NFS3_OK
    assert _readdir(nfs, cookie, NO_VERIFIER)[0] is Nfsstat3.NFS3_OK
    assert _readdir(nfs, 1 << 63, body.cookieverf)[0] is Nfsstat3.NFS3ERR_BAD_COOKIE


def test_a_file_has_no_listing(nfs: Mounted) -> None:
    file = nfs.peer.create(nfs.root, b"file")
    assert nfs.peer.status(Proc.READDIR, t.Readdir3Args(file, 0, NO_VERIFIER, 4096)) is Nfsstat3.NFS3ERR_NOTDIR
    arguments = t.Readdirplus3Args(file, 0, NO_VERIFIER, 4096, 4096)
    assert nfs.peer.status(Proc.READDIRPLUS, arguments) is Nfsstat3.NFS3ERR_NOTDIR


def test_a_client_that_asks_for_everything_gets_it_in_pieces(nfs: Mounted) -> None:
    names = _fill(nfs, 1500)
    status, body, _ = _readdirplus(nfs, dircount=0xFFFFFFFF, maxcount=0xFFFFFFFF)
    assert status is Nfsstat3.NFS3_OK
    assert not body.eof
    seen = {entry.name for entry in body.entries}
    _, body, _ = _readdirplus(nfs, body.entries[-1].cookie, body.cookieverf, 0xFFFFFFFF, 0xFFFFFFFF)
    assert body.eof
    assert seen | {entry.name for entry in body.entries} == names | {b".", b".."}
