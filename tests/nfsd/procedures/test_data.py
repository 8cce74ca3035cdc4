"""READ, WRITE, COMMIT."""

import os
from dataclasses import replace

import pytest

from nfsd.limits import MIB, RTMAX_BYTES
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Nfsstat3, Proc, StableHow
from nfsd.xdr import Packer
from tests.nfsd.procedures.conftest import Mounted
from tests.support.peer import Refused


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 4095, 4096, 16384, 16385, 65535, 65536, 65537, MIB - 1, MIB])
def test_what_is_written_is_read_back_and_padded(nfs: Mounted, size: int) -> None:
    data = os.urandom(size)
    handle = nfs.peer.create(nfs.root, b"file")
    written = nfs.peer.write(handle, 0, data)
    assert written.count == size
    result = nfs.peer.read(handle, 0, MIB)
    assert (result.data, result.count, result.eof) == (data, size, True)
    now = nfs.peer.getattr(handle)
    # A large READ is sent from the page cache after its attributes were taken, so its own atime is not among them.
    assert replace(result.file_attributes, atime=now.atime) == now
    assert (nfs.path / "file").read_bytes() == data


def test_eof_is_told_with_the_last_byte_and_not_before(nfs: Mounted) -> None:
    handle = nfs.peer.create(nfs.root, b"file")
    nfs.peer.write(handle, 0, b"0123456789")
    assert (nfs.peer.read(handle, 0, 9).data, nfs.peer.read(handle, 0, 9).eof) == (b"012345678", False)
    assert nfs.peer.read(handle, 0, 10).eof
    assert (nfs.peer.read(handle, 9, 5).data, nfs.peer.read(handle, 9, 5).eof) == (b"9", True)


@pytest.mark.parametrize("offset", [10, 11, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_behind_the_end_there_is_nothing_and_eof(nfs: Mounted, offset: int) -> None:
    handle = nfs.peer.create(nfs.root, b"file")
    nfs.peer.write(handle, 0, b"0123456789")
    result = nfs.peer.read(handle, offset, 100)
    assert (result.data, result.eof) == (b"", True)


def test_a_read_of_more_than_rtmax_is_short_but_not_eof(nfs: Mounted) -> None:
    handle = nfs.peer.create(nfs.root, b"big")
    with (nfs.path / "big").open("wb") as file:
        file.truncate(3 * MIB)
    result = nfs.peer.read(handle, 0, 0xFFFFFFFF)
    assert (result.count, result.eof) == (RTMAX_BYTES, False)


def test_pipelined_reads_of_different_places_do_not_mix_their_bytes(nfs: Mounted) -> None:
    blocks = [bytes([number]) * MIB for number in range(8)]
    (nfs.path / "big").write_bytes(b"".join(blocks))
    handle = nfs.peer.lookup(nfs.root, b"big")
    xids = [nfs.peer.send(Proc.READ, bytes(t.Read3Args(handle, number * MIB, MIB))) for number in range(8)]
    for xid, block in zip(reversed(xids), reversed(blocks), strict=True):
        assert nfs.peer.reply(xid)[-MIB:] == block


def test_a_hole_reads_as_zeros(nfs: Mounted) -> None:
    handle = nfs.peer.create(nfs.root, b"file")
    nfs.peer.write(handle, 100_000, b"end")
    assert nfs.peer.read(handle, 0, 100_003).data == bytes(100_000) + b"end"


@pytest.mark.parametrize("stable", list(StableHow))
def test_a_write_is_at_least_as_stable_as_asked_and_tells_what_changed(nfs: Mounted, stable: StableHow) -> None:
    handle = nfs.peer.create(nfs.root, b"file")
    before = nfs.peer.getattr(handle)
    result = nfs.peer.write(handle, 5, b"hello", stable)
    assert result.committed >= stable
    assert result.file_wcc.after == nfs.peer.getattr(handle)
    assert result.file_wcc.before == t.WccAttr(before.size, before.mtime, before.ctime)


def test_the_verifier_of_write_and_commit_is_one_and_stays(nfs: Mounted) -> None:
    handle = nfs.peer.create(nfs.root, b"file")
    first = nfs.peer.write(handle, 0, b"a", StableHow.UNSTABLE).verf
    committed = nfs.peer.ok(Proc.COMMIT, t.Commit3Args(handle, 0, 0))
    assert committed.verf == first == nfs.peer.write(handle, 1, b"b", StableHow.UNSTABLE).verf
    assert committed.file_wcc.after.size == 1


@pytest.mark.parametrize("proc", [Proc.READ, Proc.WRITE])
def test_data_of_a_directory_is_refused(nfs: Mounted, proc: Proc) -> None:
    arguments = {
        Proc.READ: t.Read3Args(nfs.root, 0, 10),
        Proc.WRITE: t.Write3Args(nfs.root, 0, 1, StableHow.UNSTABLE, b"x"),
    }
    assert nfs.peer.status(proc, arguments[proc]) in (Nfsstat3.NFS3ERR_ISDIR, Nfsstat3.NFS3ERR_INVAL)


@pytest.mark.parametrize("offset", [(1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_a_write_beyond_every_file_is_too_big(nfs: Mounted, offset: int) -> None:
    handle = nfs.peer.create(nfs.root, b"file")
    arguments = t.Write3Args(handle, offset, 1, StableHow.UNSTABLE, b"x")
    assert nfs.peer.status(Proc.WRITE, arguments) is Nfsstat3.NFS3ERR_FBIG
    assert nfs.peer.getattr(handle).size == 0


def test_a_write_whose_count_is_not_its_data_is_garbage_and_writes_nothing(nfs: Mounted) -> None:
    handle = nfs.peer.create(nfs.root, b"file")
    packer = Packer()
    packer.opaque(handle)
    packer.uint64(0)
    packer.uint32(100)
    packer.uint32(0)
    packer.opaque(b"only these")
    with pytest.raises(Refused) as refused:
        nfs.peer.call(Proc.WRITE, bytes(packer))
    assert refused.value.words == (0, 0, 0, 4)
    assert nfs.peer.getattr(handle).size == 0


def test_a_write_through_a_read_only_mode_is_the_owners_right(nfs: Mounted) -> None:
    handle = nfs.peer.create(nfs.root, b"file", mode=0o444)
    nfs.peer.write(handle, 0, b"opened before the chmod")
    assert (nfs.path / "file").read_bytes() == b"opened before the chmod"


def test_bytes_read_and_written_are_counted(nfs: Mounted) -> None:
    handle = nfs.peer.create(nfs.root, b"file")
    nfs.peer.write(handle, 0, bytes(100))
    nfs.peer.read(handle, 0, 30)
    nfs.peer.read(handle, 90, 30)
    counts = nfs.served.server.stats.procedures
    assert (counts.written_bytes, counts.read_bytes) == (100, 40)
    assert (counts.calls(Proc.READ), counts.calls(Proc.WRITE)) == (2, 1)
