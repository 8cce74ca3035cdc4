"""What the fuzzers throw bytes at: the whole protocol half, from the stream to the replies.

A connection of a server that decodes every call and has nothing to serve. The claim: whatever the bytes, each record
ends in one well-formed reply, or the connection is closed by `RecordError`; no other exception, and bounded memory.
Results are read with tests/support/rfc1813.py, which shares no line with the server.
"""

from typing import Any

from nfsd.errors import RecordError
from nfsd.limits import RECEIVE_BYTES_IDLE, RECORD_BYTES_MAX
from nfsd.mount3.types import MOUNT_PROGRAM, MOUNT_V3, Mountres3, Mountstat3, decode_dirpath
from nfsd.nfs3 import args, results
from nfsd.nfs3.const import NFS_PROGRAM, NFS_V3, Nfsstat3, Proc
from nfsd.nfs3.restypes import SIGNATURES, unpack_result
from nfsd.rpc.auth import Credentials
from nfsd.rpc.message import encode_call, marked
from nfsd.rpc.program import CallName, Dispatcher, Handler
from nfsd.rpc.record import LAST_FRAGMENT, RecordBuffer
from nfsd.xdr import Unpacker
from tests.support.rfc1813 import check_results

# All that a connection may hold: its idle buffer, a large one, and fragments being joined.
HELD_BYTES_MAX = RECEIVE_BYTES_IDLE + 2 * (4 + RECORD_BYTES_MAX)


def _stale(proc: Proc) -> Handler:
    decode = getattr(args, f"decode_{proc.name.lower()}")

    def handler(peer: Any, credentials: Credentials, buf: bytearray, offset: int, end: int) -> bytes:
        decode(buf, offset, end)
        return results.encode_failure(proc, Nfsstat3.NFS3ERR_STALE)

    return handler


def _mount(peer: Any, credentials: Credentials, buf: bytearray, offset: int, end: int) -> bytes:
    decode_dirpath(buf, offset, end)
    return bytes(Mountres3(Mountstat3.MNT3ERR_NOENT))


def _unexpected(peer: Any, name: CallName, error: Exception) -> None:
    raise AssertionError(f"{name} failed on our side") from error


def dispatcher() -> Dispatcher:
    server = Dispatcher(_unexpected)
    server.add(NFS_PROGRAM, NFS_V3, {Proc.NULL: lambda *_: b"", **{proc: _stale(proc) for proc in SIGNATURES}})
    server.add(MOUNT_PROGRAM, MOUNT_V3, {0: lambda *_: b"", 1: _mount})
    return server


def receive(stream: bytes, piece_bytes: int) -> list[bytes]:
    """The replies to a stream that arrives in pieces; checks the claim on the way."""
    server, records, replies = dispatcher(), RecordBuffer(), []
    try:
        while stream:
            space = records.space()
            count = min(len(space), len(stream), piece_bytes)
            space[:count] = stream[:count]
            stream = stream[count:]
            for buf, start, end in records.feed(count):
                reply = server.call(None, buf, start, end)
                assert isinstance(reply, bytes)
                check_reply(reply, bytes(buf[start:end]))
                replies.append(reply)
            assert records.held_bytes <= HELD_BYTES_MAX
    except RecordError:
        pass
    return replies


def check_reply(reply: bytes, call: bytes) -> None:
    """The reply is well-formed (RFC 5531 section 9) and answers this call; failing that, AssertionError or XdrError."""
    unpacker = Unpacker(reply)
    assert unpacker.uint32() == LAST_FRAGMENT | (len(reply) - 4)
    assert unpacker.opaque_fixed(4) == call[:4]
    assert unpacker.uint32() == 1
    if unpacker.uint32() == 1:
        _check_denied(unpacker)
        return
    assert (unpacker.uint32(), unpacker.uint32()) == (0, 0)
    accept_stat = unpacker.uint32()
    assert accept_stat in (0, 1, 2, 3, 4)
    if accept_stat == 2:
        assert (unpacker.uint32(), unpacker.uint32()) == (3, 3)
    if accept_stat == 0:
        _check_results(reply[unpacker.offset :], call)
    else:
        unpacker.done()


def _check_denied(unpacker: Unpacker) -> None:
    if unpacker.uint32() == 0:
        assert (unpacker.uint32(), unpacker.uint32()) == (2, 2)
    else:
        assert unpacker.uint32() in (1, 2, 3, 5)
    unpacker.done()


def _check_results(body: bytes, call: bytes) -> None:
    prog, proc = int.from_bytes(call[12:16], "big"), int.from_bytes(call[20:24], "big")
    status = check_results(prog, proc, body)
    if prog == NFS_PROGRAM and proc != Proc.NULL:
        assert unpack_result(Proc(proc), body)[0] == status  # our own reader agrees


def well_meant(prog: int, vers: int, proc: int, flavor: int, credential: bytes, arguments: bytes) -> bytes:
    """A record whose header is right, so that the bytes reach the decoder of a procedure."""
    return marked(encode_call(7, prog, vers, proc, arguments, flavor=flavor, credential=credential))
