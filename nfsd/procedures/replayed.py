"""The calls that must not be done twice, and the guard before their handlers.

A client that got no answer (a cut connection, a slow disk) sends the same call again, with the same xid. A second
REMOVE would say NFS3ERR_NOENT of a file that its own first one removed. So the answers to these procedures are kept
for a while (`rpc.replay`), and a repetition gets the answer of the first; while the first is being worked on, it gets
none.

Not here: procedures that may be repeated, among them a SETATTR without a guard. A SETATTR that may have one is here:
its guard is the ctime that the first one changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from nfsd.nfs3.const import Proc
from nfsd.procedures.counts import ProcedureCounts
from nfsd.rpc.auth import Credentials
from nfsd.rpc.program import Body, CallId, Handler
from nfsd.rpc.replay import Key, ReplayCache, Seen, replay_key

NOT_REPEATABLE = frozenset(
    (Proc.SETATTR, Proc.CREATE, Proc.MKDIR, Proc.SYMLINK, Proc.MKNOD, Proc.REMOVE, Proc.RMDIR, Proc.RENAME, Proc.LINK)
)

_SETATTR = int(Proc.SETATTR)
_NEW = Seen.NEW


class Host(Protocol):
    """What the transport says of a peer: its address, without the port, which changes with each connection."""

    @property
    def host(self) -> str: ...


class ReplayGuard:
    """The `rpc.program.Guard` of these procedures. One for all connections: a client comes back on a new one."""

    def __init__(self, counts: ProcedureCounts, clock: Callable[[], float]) -> None:
        """`clock`: monotonic seconds."""
        self._counts = counts
        self._clock = clock
        self._cache = ReplayCache()

    def __call__(
        self,
        handler: Handler,
        peer: Host,
        call: CallId,
        credentials: Credentials,
        buf: bytearray,
        offset: int,
        end: int,
    ) -> Body | Awaitable[Body]:
        """The results of the first such call; None (send nothing) while it is being worked on.

        A call that raised is not remembered: arguments that do not decode have done nothing, and after a mistake of
        our own there is no true answer to keep.
        """
        xid, prog, vers, proc = call
        if proc == _SETATTR and not _may_be_guarded(buf, offset, end):
            return handler(peer, credentials, buf, offset, end)
        cache, now = self._cache, self._clock()
        key = replay_key(peer.host, xid, prog, vers, proc, buf, offset, end)
        seen = cache.seen(key, now)
        if seen is not _NEW:
            self._counts.replayed += 1
            return None if isinstance(seen, Seen) else seen
        body = handler(peer, credentials, buf, offset, end)
        if type(body) is bytes:
            cache.keep(key, body, now)
        elif isinstance(body, Awaitable):
            cache.begin(key, now)
            return self._remembered(key, body)
        return body

    async def _remembered(self, key: Key, pending: Awaitable[Body]) -> Body:
        try:
            body = await pending
        except BaseException:
            self._cache.forget(key)
            raise
        if isinstance(body, bytes):
            self._cache.finish(key, body, self._clock())
        else:
            self._cache.forget(key)
        return body


def _may_be_guarded(buf: bytearray, offset: int, end: int) -> bool:
    """Whether a SETATTR's arguments can end in a guard: TRUE and a time are their last three words then.

    Nothing before them is looked at, so a "yes" can be wrong, which costs an entry and harms nobody.
    """
    return end - offset >= 12 and buf[end - 12 : end - 8] == b"\0\0\0\1"
