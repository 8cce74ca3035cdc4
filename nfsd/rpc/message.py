"""RPC messages (RFC 5531 section 9): read a call's header, write a reply's.

Replies carry an AUTH_NONE verifier, always: AUTH_SYS has none to give (appendix A).

The rule: the header is read with one precompiled `Struct`, and nothing is looked at beyond `end`: the receive buffer
holds other bytes there.
"""

import struct

from nfsd.errors import (
    AUTH_BADCRED,
    AUTH_BADVERF,
    RPC_VERSION,
    AuthError,
    RecordError,
    RpcError,
    RpcMismatch,
)
from nfsd.limits import AUTH_BYTES_MAX
from nfsd.xdr import Buffer

CALL = 0
REPLY = 1

Call = tuple[int, int, int, int, int, bytes, int]
"""`(xid, prog, vers, proc, flavor, credential body, offset of the arguments)`"""

REPLY_OK_BYTES = 24
_LAST_FRAGMENT = 0x80000000

# xid, mtype, rpcvers, prog, vers, proc, credential's flavor and length
_CALL_HEADER = struct.Struct(">8I")
# The credential's body, then the verifier's flavor (skipped) and length; for each length of a credential.
_CREDENTIAL = [struct.Struct(f">{length}s{-length & 3}x4xI") for length in range(AUTH_BYTES_MAX + 1)]
_XID = struct.Struct(">I")
_WORD = struct.Struct(">I")
# After the xid of a reply: REPLY, MSG_ACCEPTED, verifier AUTH_NONE of length 0, SUCCESS.
_SUCCESS = struct.pack(">5I", REPLY, 0, 0, 0, 0)
_REPLY_OK = struct.Struct(">I20s")
_pack_marked_reply_ok = struct.Struct(">II20s").pack
_MARK_OK = _LAST_FRAGMENT + REPLY_OK_BYTES


def decode_call(buf: Buffer, start: int, end: int) -> Call:
    """The header of the call in `buf[start:end]`; its arguments are `buf[offset:end]`.

    Raises `RpcError` for a call that gets that reply (its xid is `peek_xid`), and `RecordError` for a record that is
    no call at all: nothing can be answered and the stream cannot be trusted.

    The verifier is skipped unread, whatever its flavor: with AUTH_NONE and AUTH_SYS it says nothing (appendix A).
    """
    body = start + 32
    if body + 8 > end:
        raise RecordError(f"a record of {end - start} bytes is too short for a call")
    xid, mtype, rpcvers, prog, vers, proc, flavor, length = _CALL_HEADER.unpack_from(buf, start)
    if mtype != CALL:
        raise RecordError(f"message type {mtype} where a call (0) was wanted")
    if rpcvers != RPC_VERSION:
        raise RpcMismatch()
    arguments = body + length + (-length & 3) + 8
    if length > AUTH_BYTES_MAX or arguments > end:
        raise AuthError(AUTH_BADCRED, f"a credential of {length} bytes")
    credential, verifier_length = _CREDENTIAL[length].unpack_from(buf, body)
    if verifier_length:
        arguments += verifier_length + (-verifier_length & 3)
        if verifier_length > AUTH_BYTES_MAX or arguments > end:
            raise AuthError(AUTH_BADVERF, f"a verifier of {verifier_length} bytes")
    return xid, prog, vers, proc, flavor, credential, arguments


def peek_xid(buf: Buffer, start: int, end: int) -> int:
    """The xid of any message; `RecordError` when there is none."""
    if start + 4 > end:
        raise RecordError(f"a record of {end - start} bytes has no xid")
    return int(_XID.unpack_from(buf, start)[0])


def reply_ok(xid: int) -> bytes:
    """The 24 bytes before the results of a call that was accepted, without a record mark."""
    return _REPLY_OK.pack(xid, _SUCCESS)


def marked_reply_ok(xid: int, body_bytes: int) -> bytes:
    """Record mark and accepted reply header, 28 bytes, for results of `body_bytes` that follow in the same record."""
    return _pack_marked_reply_ok(_MARK_OK + body_bytes, xid, _SUCCESS)


def encode_error(xid: int, error: RpcError) -> bytes:
    """The whole reply for a refused call, without a record mark."""
    return struct.pack(f">{2 + len(error.words)}I", xid, REPLY, *error.words)


def marked(message: bytes) -> bytes:
    """`message` as a record of one fragment."""
    return _WORD.pack(_LAST_FRAGMENT | len(message)) + message


def encode_call(
    xid: int, prog: int, vers: int, proc: int, arguments: bytes = b"", *, flavor: int = 0, credential: bytes = b""
) -> bytes:
    """A call, without a record mark: what probes and tests send."""
    header = _CALL_HEADER.pack(xid, CALL, RPC_VERSION, prog, vers, proc, flavor, len(credential))
    return b"".join((header, credential, bytes(-len(credential) & 3), bytes(8), arguments))
