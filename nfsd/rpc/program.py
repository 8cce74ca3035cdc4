"""The table of programs, and one call over bytes: `(prog, vers, proc)` -> handler -> reply (RFC 5531 section 9).

    reply = dispatcher.call(peer, buf, start, end)

A handler is `handler(peer, credentials, buf, offset, end)`: its arguments are `buf[offset:end]`. It returns the results
(`Body`) at once, or an awaitable of them when the work has to leave the event loop. Nothing here creates a task: the
awaitable comes back wrapped as `Pending`, and whoever owns the loop awaits it.

The rule: every call ends in exactly one reply or in a closed connection. What a handler raises is sorted here and
nowhere else: `XdrError` is GARBAGE_ARGS, `RpcError` its own reply, anything else SYSTEM_ERR and a report to `on_error`.
"""

from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from typing import Any, NamedTuple

from nfsd.errors import (
    GarbageArgs,
    ProcUnavail,
    ProgMismatch,
    ProgUnavail,
    RpcError,
    SystemErr,
    XdrError,
)
from nfsd.rpc.auth import Credentials, CredentialsCache
from nfsd.rpc.message import decode_call, encode_error, marked, marked_reply_ok, peek_xid

Body = bytes | list[Any] | tuple[Any, ...] | None
"""Results of a procedure: bytes, or a list or tuple of parts in order. A part is a buffer or something the server knows
how to send (a range of a file), and `len(part)` is its length in bytes; padding is the handler's. None sends nothing:
the call is a retransmission of one that is still being worked on."""

Handler = Callable[[Any, Credentials, bytearray, int, int], Body | Awaitable[Body]]

Finished = bytes | list[Any] | None
"""A reply as a record, mark included: bytes, or parts to send in order; None: send nothing."""


class CallName(NamedTuple):
    """Which procedure, for a report."""

    xid: int
    prog: int
    vers: int
    proc: int


OnError = Callable[[Any, CallName, Exception], None]
"""`on_error(peer, name, error)`: told of each exception that has no wire answer of its own."""

CallId = tuple[int, int, int, int]
"""`(xid, prog, vers, proc)`"""

Guard = Callable[[Handler, Any, CallId, Credentials, bytearray, int, int], Body | Awaitable[Body]]
"""`guard(handler, peer, call, credentials, buf, offset, end)`: before a handler, which it calls or not."""


class Pending:
    """A reply that is not there yet: `finished = await pending`. Await it exactly once.

    The receive buffer is used again meanwhile: a handler that returns an awaitable has copied what it still needs of
    its arguments. Cancelling the awaiting task cancels the handler, and there is no reply then.
    """

    __slots__ = ("_awaitable", "_dispatcher", "_peer", "name")

    def __init__(self, dispatcher: "Dispatcher", peer: Any, name: CallName, awaitable: Awaitable[Body]) -> None:
        self._dispatcher = dispatcher
        self._peer = peer
        self.name = name
        self._awaitable = awaitable

    def __await__(self) -> Generator[Any, None, Finished]:
        try:
            body = yield from self._awaitable.__await__()
            return finish(self.name.xid, body)
        except Exception as error:
            return self._dispatcher.failed(self._peer, self.name, error)


Reply = Finished | Pending


class Dispatcher:
    """The table and the one way through it. Holds no state of a connection; share it between all."""

    def __init__(self, on_error: OnError) -> None:
        self._on_error = on_error
        self._handlers: dict[tuple[int, int, int], Handler] = {}
        self._guarded: dict[tuple[int, int, int], tuple[Guard, Handler]] = {}
        self._versions: dict[int, set[int]] = {}
        self._credentials = CredentialsCache()

    def add(self, prog: int, vers: int, handlers: Mapping[int, Handler]) -> None:
        """Serve a version of a program: procedure number to handler. Procedures left out are PROC_UNAVAIL."""
        self._versions.setdefault(prog, set()).add(vers)
        for proc, handler in handlers.items():
            self._handlers[prog, vers, int(proc)] = handler

    def guard(self, prog: int, vers: int, procs: Iterable[int], guard: Guard) -> None:
        """Put `guard` before the handlers of these procedures, which were added before. The others pay nothing."""
        for proc in procs:
            row = (prog, vers, int(proc))
            self._guarded[row] = (guard, self._handlers.pop(row))

    def call(self, peer: Any, buf: bytearray, start: int, end: int) -> Reply:
        """Answer the call in `buf[start:end]`. `peer` is the transport's, handed through unread.

        Raises `RecordError` when the record is no call: close the connection. Nothing else.
        """
        try:
            xid, prog, vers, proc, flavor, credential, offset = decode_call(buf, start, end)
        except RpcError as error:
            return marked(encode_error(peek_xid(buf, start, end), error))
        try:
            handler = self._handlers.get((prog, vers, proc))
            if handler is not None:
                body = handler(peer, self._credentials.get(flavor, credential), buf, offset, end)
            else:
                body = self._guarded_call(peer, (xid, prog, vers, proc), flavor, credential, buf, offset, end)
            if type(body) is bytes:
                return marked_reply_ok(xid, len(body)) + body
            if body is None or isinstance(body, (list, tuple, bytes)):
                return finish(xid, body)
            return Pending(self, peer, CallName(xid, prog, vers, proc), body)
        except Exception as error:
            return self.failed(peer, CallName(xid, prog, vers, proc), error)

    def _guarded_call(
        self, peer: Any, call: CallId, flavor: int, credential: bytes, buf: bytearray, offset: int, end: int
    ) -> Body | Awaitable[Body]:
        row = self._guarded.get(call[1:])
        if row is None:
            raise self._unavailable(call[1], call[2])
        guard, handler = row
        return guard(handler, peer, call, self._credentials.get(flavor, credential), buf, offset, end)

    def failed(self, peer: Any, name: CallName, error: Exception) -> bytes:
        """The reply for what a handler raised."""
        if isinstance(error, XdrError):
            answer: RpcError = GarbageArgs()
        elif isinstance(error, RpcError):
            answer = error
        else:
            self._on_error(peer, name, error)
            answer = SystemErr()
        return marked(encode_error(name.xid, answer))

    def _unavailable(self, prog: int, vers: int) -> RpcError:
        versions = self._versions.get(prog)
        if versions is None:
            return ProgUnavail()
        if vers not in versions:
            return ProgMismatch(min(versions), max(versions))
        return ProcUnavail()


def finish(xid: int, body: Body) -> Finished:
    """The record that answers `xid` with these results."""
    if body is None:
        return None
    if isinstance(body, bytes):
        return marked_reply_ok(xid, len(body)) + body
    return [marked_reply_ok(xid, sum(map(len, body))), *body]
