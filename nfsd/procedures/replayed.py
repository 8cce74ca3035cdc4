"""The calls that must not be done twice, and the way past the dispatcher for a repetition of one.

A client that got no answer (a cut connection, a slow disk) sends the same call again, with the same xid. A second
REMOVE would say NFS3ERR_NOENT of a file that its own first one removed. So the answers to these procedures are kept
for a while (`rpc.replay`), and a repetition gets the answer of the first; while the first is being worked on, it gets
none.

Not here: procedures that may be repeated, among them a SETATTR without a guard. A SETATTR that may have one is here:
its guard is the ctime that the first one changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from nfsd.errors import NfsdError
from nfsd.nfs3.const import NFS_PROGRAM, NFS_V3, Proc
from nfsd.procedures.counts import ProcedureCounts
from nfsd.rpc.message import decode_call
from nfsd.rpc.program import Dispatcher, Finished
from nfsd.rpc.replay import Key, ReplayCache, Seen, replay_key

Answer: TypeAlias = Finished | Awaitable[Finished]

NOT_REPEATABLE = frozenset(
    (Proc.SETATTR, Proc.CREATE, Proc.MKDIR, Proc.SYMLINK, Proc.MKNOD, Proc.REMOVE, Proc.RMDIR, Proc.RENAME, Proc.LINK)
)

# Where the low byte of the procedure number is in a call: xid, mtype, rpcvers, prog, vers, proc are its first six
# words.
_PROC_BYTE = 23
_HEADER_BYTES = 40


class Host(Protocol):
    """What the transport says of a peer: its address, without the port, which changes with each connection."""

    @property
    def host(self) -> str: ...


class ReplayGuard:
    """A dispatcher's `call`, with a memory. One for all connections: a client comes back on a new one."""

    def __init__(self, dispatcher: Dispatcher, counts: ProcedureCounts, clock: Callable[[], float]) -> None:
        """`clock`: monotonic seconds."""
        self._call = dispatcher.call
        self._counts = counts
        self._clock = clock
        self._cache = ReplayCache()

    def call(self, peer: Host, buf: bytearray, start: int, end: int) -> Answer:
        """Answer the call in `buf[start:end]`. Raises `RecordError` when it is no call."""
        if end - start < _HEADER_BYTES or buf[start + _PROC_BYTE] not in NOT_REPEATABLE:
            return self._call(peer, buf, start, end)
        try:
            xid, prog, vers, proc, _flavor, _credential, offset = decode_call(buf, start, end)
        except NfsdError:
            return self._call(peer, buf, start, end)
        if (prog, vers) != (NFS_PROGRAM, NFS_V3) or (proc == Proc.SETATTR and not _may_be_guarded(buf, offset, end)):
            return self._call(peer, buf, start, end)
        key = replay_key(peer.host, xid, prog, vers, proc, buf, offset, end)
        seen = self._cache.begin(key, self._clock())
        if seen is not Seen.NEW:
            self._counts.replayed += 1
            return None if isinstance(seen, Seen) else seen
        return self._first(key, peer, buf, start, end)

    def _first(self, key: Key, peer: Host, buf: bytearray, start: int, end: int) -> Answer:
        reply = self._call(peer, buf, start, end)
        if isinstance(reply, bytes):
            self._cache.finish(key, reply, self._clock())
            return reply
        if isinstance(reply, Awaitable):
            return self._remembered(key, reply)
        self._cache.forget(key)
        return reply

    async def _remembered(self, key: Key, pending: Awaitable[Finished]) -> Finished:
        try:
            reply = await pending
        except BaseException:
            self._cache.forget(key)
            raise
        if isinstance(reply, bytes):
            self._cache.finish(key, reply, self._clock())
        else:
            self._cache.forget(key)
        return reply


def _may_be_guarded(buf: bytearray, offset: int, end: int) -> bool:
    """Whether a SETATTR's arguments can end in a guard: TRUE and a time are their last three words then.

    Nothing before them is looked at, so a "yes" can be wrong, which costs an entry and harms nobody.
    """
    return end - offset >= 12 and buf[end - 12 : end - 8] == b"\0\0\0\1"
