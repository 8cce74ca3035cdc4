"""Errors of the protocol half of `nfsd`, one tree, each with the answer it means.

The rule: an error here says that the *peer* is wrong (or asks for what we do not serve) and names the answer the peer
gets. Failures of the file system are `OSError` (vfs) and become a status in `nfs3.status`; our own mistakes are any
other exception, are answered SYSTEM_ERR by the dispatcher and reported, never swallowed.

    NfsdError
      XdrError        bytes that are not the XDR they should be: GARBAGE_ARGS in a call, a protocol error in a reply
      RecordError     the stream cannot be followed any more: close the connection, no answer is possible
      RpcError        an RPC-level refusal (RFC 5531 section 9): the reply is in the error
      Nfs3Error       an nfsstat3 that no errno stands for
"""

from enum import IntEnum
from typing import ClassVar

# RFC 5531 section 9, the words of reply_body, accept_stat, reject_stat and auth_stat.
_MSG_ACCEPTED, _MSG_DENIED = 0, 1
_VERF_NONE = (0, 0)
_RPC_MISMATCH, _AUTH_ERROR = 0, 1
RPC_VERSION = 2

AUTH_BADCRED = 1
AUTH_REJECTEDCRED = 2
AUTH_BADVERF = 3
AUTH_REJECTEDVERF = 4
AUTH_TOOWEAK = 5


class Nfsstat3(IntEnum):
    """RFC 1813 section 2.6, verbatim. Which ones a procedure uses is in `nfs3.status`; `nfs3.const` offers it too."""

    NFS3_OK = 0
    NFS3ERR_PERM = 1
    NFS3ERR_NOENT = 2
    NFS3ERR_IO = 5
    NFS3ERR_NXIO = 6
    NFS3ERR_ACCES = 13
    NFS3ERR_EXIST = 17
    NFS3ERR_XDEV = 18
    NFS3ERR_NODEV = 19
    NFS3ERR_NOTDIR = 20
    NFS3ERR_ISDIR = 21
    NFS3ERR_INVAL = 22
    NFS3ERR_FBIG = 27
    NFS3ERR_NOSPC = 28
    NFS3ERR_ROFS = 30
    NFS3ERR_MLINK = 31
    NFS3ERR_NAMETOOLONG = 63
    NFS3ERR_NOTEMPTY = 66
    NFS3ERR_DQUOT = 69
    NFS3ERR_STALE = 70
    NFS3ERR_REMOTE = 71
    NFS3ERR_BADHANDLE = 10001
    NFS3ERR_NOT_SYNC = 10002
    NFS3ERR_BAD_COOKIE = 10003
    NFS3ERR_NOTSUPP = 10004
    NFS3ERR_TOOSMALL = 10005
    NFS3ERR_SERVERFAULT = 10006
    NFS3ERR_BADTYPE = 10007
    NFS3ERR_JUKEBOX = 10008


class NfsdError(Exception):
    """Base of everything this package raises about a peer's bytes or requests."""


class XdrError(NfsdError):
    """Bytes that cannot be decoded: `wanted` says what should have been at `offset` of the buffer."""

    def __init__(self, offset: int, wanted: str) -> None:
        super().__init__(offset, wanted)
        self.offset = offset
        self.wanted = wanted

    def __str__(self) -> str:
        return f"undecodable XDR at byte {self.offset}: wanted {self.wanted}"


class RecordError(NfsdError):
    """The record stream is broken or over its limits; the only safe answer is to close the connection."""


class RpcError(NfsdError):
    """A call that is answered below the procedure. `words` is the reply after xid and msg_type (RFC 5531 section 9).

    A handler may raise one of these; the dispatcher sends it. Nothing of the call has been executed then.
    """

    words: tuple[int, ...]


class _AcceptedError(RpcError):
    """MSG_ACCEPTED with an accept_stat other than SUCCESS."""

    accept_stat: ClassVar[int]

    def __init__(self, *details: int) -> None:
        super().__init__(*details)
        self.words = (_MSG_ACCEPTED, *_VERF_NONE, self.accept_stat, *details)

    def __str__(self) -> str:
        return type(self).__name__


class ProgUnavail(_AcceptedError):
    """PROG_UNAVAIL: no such program here. Never half-serve one (NFSACL): clients believe what it answers."""

    accept_stat = 1


class ProgMismatch(_AcceptedError):
    """PROG_MISMATCH: the program is here in versions `low` to `high` only."""

    accept_stat = 2

    def __init__(self, low: int, high: int) -> None:
        super().__init__(low, high)
        self.low = low
        self.high = high

    def __str__(self) -> str:
        return f"ProgMismatch: versions {self.low} to {self.high} are served"


class ProcUnavail(_AcceptedError):
    """PROC_UNAVAIL: the program has no such procedure."""

    accept_stat = 3


class GarbageArgs(_AcceptedError):
    """GARBAGE_ARGS: the arguments are not the XDR of this procedure. The wire answer of an `XdrError`."""

    accept_stat = 4


class SystemErr(_AcceptedError):
    """SYSTEM_ERR: our own failure. The wire answer of every exception that has no better one."""

    accept_stat = 5


class RpcMismatch(RpcError):
    """RPC_MISMATCH: the call is not of RPC version 2, the only one there is."""

    words = (_MSG_DENIED, _RPC_MISMATCH, RPC_VERSION, RPC_VERSION)


class AuthError(RpcError):
    """AUTH_ERROR: the credentials are refused; `auth_stat` is one of AUTH_BADCRED ... AUTH_TOOWEAK above."""

    def __init__(self, auth_stat: int, reason: str) -> None:
        super().__init__(auth_stat, reason)
        self.auth_stat = auth_stat
        self.reason = reason
        self.words = (_MSG_DENIED, _AUTH_ERROR, auth_stat)

    def __str__(self) -> str:
        return f"credentials refused (auth_stat {self.auth_stat}): {self.reason}"


class Nfs3Error(NfsdError):
    """A status for the client that no errno says: NFS3ERR_BADHANDLE, NFS3ERR_STALE, NFS3ERR_BAD_COOKIE,
    NFS3ERR_NOT_SYNC, NFS3ERR_BADTYPE, NFS3ERR_TOOSMALL, NFS3ERR_JUKEBOX (RFC 1813 section 2.6).

    Raised by handles, exports and procedures; `status` goes out in the procedure's own failure shape.
    """

    def __init__(self, status: Nfsstat3, reason: str = "") -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.status.name}: {self.reason}" if self.reason else self.status.name
