"""The calls that must not be done twice, and the guard before their handlers.

A client that got no answer (a cut connection, a slow disk) sends the same call again, with the same xid. A second
REMOVE would say NFS3ERR_NOENT of a file that its own first one removed. So the answers to these procedures are kept
for a while (`rpc.replay`), and a repetition gets the answer of the first, if need be when the first has been worked on.

Not here: procedures that may be repeated, among them a SETATTR without a guard. A SETATTR that may have one is here:
its guard is the ctime that the first one changed.

A `Journal` keeps the answers for the next process. A call that changed names and then waits for a flush is written down
when it begins to wait: its effect is there, and if the process ends before the flush does, the next one flushes and
answers with success and no attributes, which the RFC allows everywhere. And the one call that the process was working
on at its end may have had its effect or not: it is done again, and where it fails as a call fails that is done twice
(the name is gone; the name is there), it is answered with success too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, NamedTuple, Protocol

from nfsd.handles import HANDLE_BYTES
from nfsd.limits import REPLAY_REPETITIONS_MAX, REPLAY_SECONDS_MAX
from nfsd.nfs3.const import Nfsstat3, Proc
from nfsd.nfs3.results import NO_ATTR, NO_WCC, encode_create, encode_error, encode_link, encode_rename, encode_wcc
from nfsd.procedures.counts import ProcedureCounts
from nfsd.rpc.auth import Credentials
from nfsd.rpc.program import Body, CallId, Handler
from nfsd.rpc.replay import Key, ReplayCache, Seen, replay_key

NOT_REPEATABLE = frozenset(
    (Proc.SETATTR, Proc.CREATE, Proc.MKDIR, Proc.SYMLINK, Proc.MKNOD, Proc.REMOVE, Proc.RMDIR, Proc.RENAME, Proc.LINK)
)

_BARE_SUCCESS: dict[int, bytes] = {
    **dict.fromkeys((Proc.CREATE, Proc.MKDIR, Proc.SYMLINK, Proc.MKNOD), encode_create(None, NO_ATTR, NO_WCC)),
    **dict.fromkeys((Proc.REMOVE, Proc.RMDIR), encode_wcc(NO_WCC)),
    Proc.RENAME: encode_rename(NO_WCC, NO_WCC),
    Proc.LINK: encode_link(NO_ATTR, NO_WCC),
}
"""Of the procedures that are written down before they are answered: their waiting is a flush and nothing else. Of
CREATE it is so where the file must be new: UNCHECKED may wait for a truncation, and may be repeated. EXCLUSIVE may be
repeated too, but not when it was cut off between making the file and keeping its verifier."""

_DONE_TWICE: dict[int, bytes] = {
    **dict.fromkeys(
        (Proc.CREATE, Proc.MKDIR, Proc.SYMLINK, Proc.MKNOD, Proc.LINK), encode_error(Nfsstat3.NFS3ERR_EXIST)
    ),
    **dict.fromkeys((Proc.REMOVE, Proc.RMDIR, Proc.RENAME), encode_error(Nfsstat3.NFS3ERR_NOENT)),
}
"""How the results begin when one of these is done a second time."""

_SETATTR, _CREATE = int(Proc.SETATTR), int(Proc.CREATE)
_NEW = Seen.NEW


class Host(Protocol):
    """What the transport says of a peer: its address, without the port, which changes with each connection."""

    @property
    def host(self) -> str: ...


class Kept(NamedTuple):
    """What a journal has of one call. `body` None: it had its effect, and was waiting to be answered; with `executed`
    False, the process ended while it was at it."""

    key: Key
    body: bytes | None
    age_seconds: float
    executed: bool = True


class Journal(Protocol):
    """Keeps answers beyond the process; its methods return at once and do not fail."""

    def recovered(self) -> list[Kept]: ...

    def intended(self, key: Key) -> None: ...

    def begun(self, key: Key) -> None: ...

    def done(self, key: Key, body: bytes) -> None: ...


class Waiting:
    """The results of a call that waits. `executed`: it has had its effect, and waits until it may say so. A call that
    has to look for its file first becomes that later: `effect` is called then, and calls `on_effect`."""

    __slots__ = ("awaitable", "executed", "on_effect")

    def __init__(self) -> None:
        self.awaitable: Awaitable[Body]  # set by who makes it: it may have to know this object
        self.executed = False
        self.on_effect: Callable[[], None] | None = None

    def effect(self) -> None:
        self.executed = True
        if self.on_effect is not None:
            self.on_effect()

    def __await__(self) -> Generator[Any, None, Body]:
        return self.awaitable.__await__()


class ReplayGuard:
    """The `rpc.program.Guard` of these procedures. One for all connections: a client comes back on a new one."""

    def __init__(
        self,
        counts: ProcedureCounts,
        clock: Callable[[], float],
        journal: Journal | None = None,
        flush: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`clock`: monotonic seconds. `flush` makes durable what an earlier process left in the host's memory; wanted
        with a journal."""
        self._counts = counts
        self._clock = clock
        self.cache = ReplayCache()
        self._journal = journal
        self._flush = flush
        self._repetitions: dict[Key, list[asyncio.Future[Body]]] = {}  # of calls in progress
        self._unanswered: set[Key] = set()  # of an earlier process, since when nobody has asked again
        self._doubtful: set[Key] = set()  # likewise; at most one, which may have been done or not
        if journal is not None:
            self._recover(journal.recovered())

    def _recover(self, kept: list[Kept]) -> None:
        now = self._clock()
        for key, body, age_seconds, executed in kept:
            if age_seconds > REPLAY_SECONDS_MAX:
                continue
            if not executed:
                self._doubtful.add(key)
            elif body is None:
                self._unanswered.add(key)
            else:
                self._unanswered.discard(key)
                self.cache.keep(key, body, now - age_seconds)

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
        """The results of the first such call, also while it is being worked on. None: send nothing.

        A call that raised is not remembered: arguments that do not decode have done nothing, and after a mistake of
        our own there is no true answer to keep.
        """
        xid, prog, vers, proc = call
        if proc == _SETATTR and not _may_be_guarded(buf, offset, end):
            return handler(peer, credentials, buf, offset, end)
        cache, now = self.cache, self._clock()
        key = replay_key(peer.host, credentials.uid, xid, prog, vers, proc, buf, offset, end)
        seen = cache.seen(key, now)
        if seen is not _NEW:
            self._counts.replayed += 1
            return self._repeated(key) if isinstance(seen, Seen) else seen
        if self._unanswered and key in self._unanswered:
            self._counts.replayed += 1
            cache.begin(key, now)
            return self._remembered(key, self._flushed(key, proc))
        journal = self._journal
        written = journal is not None and proc in _BARE_SUCCESS and (proc != _CREATE or _must_be_new(buf, offset, end))
        if journal is not None and written:
            journal.intended(key)
        body = handler(peer, credentials, buf, offset, end)
        if self._doubtful and key in self._doubtful:
            cache.begin(key, now)
            return self._remembered(key, self._decided(key, proc, body))
        if type(body) is bytes:
            cache.keep(key, body, now)
            if journal is not None:
                journal.done(key, body)
        elif isinstance(body, Awaitable):
            cache.begin(key, now)
            if journal is not None and written and type(body) is Waiting:
                if body.executed:
                    journal.begun(key)
                else:
                    body.on_effect = partial(journal.begun, key)
            return self._remembered(key, body)
        return body

    def _repeated(self, key: Key) -> Awaitable[Body] | None:
        """The results of the call that is being worked on, for a repetition of it: the connection the first came on may
        be gone, and a client that hears nothing on its new one waits for its timer, a minute. None: it is one too many.
        """
        repetitions = self._repetitions.setdefault(key, [])
        if len(repetitions) >= REPLAY_REPETITIONS_MAX:
            return None
        results: asyncio.Future[Body] = asyncio.get_running_loop().create_future()
        repetitions.append(results)
        return results

    async def _flushed(self, key: Key, proc: int) -> Body:
        """The answer to a call that an earlier process did and did not live to answer."""
        if self._flush is not None:
            await self._flush()
        self._unanswered.discard(key)
        return _BARE_SUCCESS[proc]

    async def _decided(self, key: Key, proc: int, body: Body | Awaitable[Body]) -> Body:
        """The answer to a call that an earlier process may have done, now that it was done again."""
        results = body if body is None or isinstance(body, (bytes, list, tuple)) else await body
        self._doubtful.discard(key)
        if isinstance(results, bytes) and results.startswith(_DONE_TWICE[proc]):
            if self._flush is not None:
                await self._flush()
            return _BARE_SUCCESS[proc]
        return results

    async def _remembered(self, key: Key, pending: Awaitable[Body]) -> Body:
        body: Body = None
        try:
            body = await pending
        except BaseException:
            self.cache.forget(key)
            raise
        finally:
            for repetition in self._repetitions.pop(key, ()):
                if not repetition.done():  # done: its connection has ended too
                    repetition.set_result(body if isinstance(body, bytes) else None)
        if isinstance(body, bytes):
            self.cache.finish(key, body, self._clock())
            if self._journal is not None:
                self._journal.done(key, body)
        else:
            self.cache.forget(key)
        return body


def _must_be_new(buf: bytearray, offset: int, end: int) -> bool:
    """Whether a CREATE is not UNCHECKED: the word behind the handle and the name. A handle that is not of our length
    and what does not decode do nothing, so it does not matter what is said of them."""
    name = offset + 4 + HANDLE_BYTES
    length = int.from_bytes(buf[name : name + 4], "big")
    how = name + 4 + length + (-length & 3)
    return how + 4 > end or buf[how : how + 4] != bytes(4)


def _may_be_guarded(buf: bytearray, offset: int, end: int) -> bool:
    """Whether a SETATTR's arguments can end in a guard: TRUE and a time are their last three words then.

    Nothing before them is looked at, so a "yes" can be wrong, which costs an entry and harms nobody.
    """
    return end - offset >= 12 and buf[end - 12 : end - 8] == b"\0\0\0\1"
