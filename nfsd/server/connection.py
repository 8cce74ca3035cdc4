"""One TCP connection: records in, replies out, on the bare socket.

A call is answered in the turn of the loop in which its last byte arrived, without a task; all replies of a turn leave
together. Only a reply that has to wait gets a task, and is sent, out of order, when it is there (RFC 5531 section 9:
the xid says which call it answers).

The rules:
- `add_reader` on the socket, not a transport: no copy of what is received and none of what is sent.
- A connection takes one receive buffer's worth of calls, and at most `CALLS_PER_TURN_MAX` of them, before the others
  have their turn.
- It is not read while replies wait for the peer (`SEND_BUFFER_BYTES_MAX`) or for blocking work
  (`CALLS_IN_FLIGHT_MAX`); TCP then holds the peer back. Records already received wait in the receive buffer.
- What a peer breaks costs him this connection and one line in the log. Work that was begun for him ends all the same.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias, cast

from nfsd.errors import RecordError
from nfsd.limits import (
    CALLS_IN_FLIGHT_MAX,
    CALLS_PER_TURN_MAX,
    CONNECTION_IDLE_SECONDS,
    RECEIVE_BYTES_IDLE,
    RECORD_SECONDS_MAX,
    SEND_BUFFER_BYTES_MAX,
)
from nfsd.rpc.program import Finished, Reply
from nfsd.rpc.record import MARK_BYTES, BufferPool, Record, RecordBuffer, marked_record
from nfsd.server.logs import LimitedLog
from nfsd.server.output import Output, Segment
from nfsd.server.stats import ServerStats

log = logging.getLogger("nfsd")

Call: TypeAlias = Callable[["Peer", bytearray, int, int], Reply]


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end. Handed through to every handler."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(slots=True)
class Shared:
    """What the connections of one server have in common."""

    loop: asyncio.AbstractEventLoop
    call: Call
    stats: ServerStats
    peers_log: LimitedLog
    closed: Callable[[Connection], None]
    buffers: BufferPool
    waiting: set[asyncio.Task[None]]
    """Calls that wait for blocking work. The server's, not the connection's: they outlive it."""
    calls_in_flight_max: int = CALLS_IN_FLIGHT_MAX


class Connection:
    """Owns the socket from construction to `close()`; starts reading at once."""

    def __init__(self, connected: socket.socket, peer: Peer, shared: Shared, received: bytes = b"") -> None:
        """`received`: what `leave` of another `Connection` on the same socket handed over."""
        self.peer = peer
        self._socket = connected
        self._fd = connected.fileno()
        self._shared = shared
        self._call = shared.call
        self._received = RecordBuffer(shared.buffers)
        self._records: list[Record] = []  # received, not answered yet
        self._output = Output(connected)
        self._waiting = 0  # calls that wait for blocking work
        self._finished: list[Segment] = []  # replies of waiting calls, to leave together
        self._reading = self._writing = self._continuing = self._sending_soon = False
        self._draining = self._closed = False
        self._opened_at = self._active_at = shared.loop.time()
        self._records_seen = 0
        self._partial: tuple[float, int] | None = None  # since when a record is incomplete, and which one it is
        self._leave_to: Callable[[Connection, socket.socket, bytes], None] | None = None
        if received:
            self._received.space()[: len(received)] = received
            self._records = self._received.feed(len(received))
        self._pump()

    # ---- receiving ----

    def _readable(self) -> None:
        if self._records:
            return
        shared = self._shared
        try:
            count = self._socket.recv_into(self._received.space())
            if not count:
                self.drain()
                return
            self._active_at = shared.loop.time()
            shared.stats.received_bytes += count
            self._records = self._received.feed(count)
            if self._records:
                self._answer()
        except (BlockingIOError, InterruptedError):
            pass
        except Exception as error:
            self._broken(error)

    def _answer(self) -> None:
        """Answer the records that are there, as many as one turn may."""
        records, call, peer = self._records, self._call, self.peer
        replies: list[bytes] = []
        segments: list[Segment] | None = None  # all there is to send, once a reply is not plain bytes
        segment_bytes = 0
        done = 0
        try:
            for buf, start, end in records[:CALLS_PER_TURN_MAX]:
                done += 1
                reply = call(peer, buf, start, end)
                if type(reply) is bytes:
                    (replies if segments is None else segments).append(reply)
                elif type(reply) is list:
                    if segments is None:
                        segments = cast(list[Segment], replies)
                    segments.extend(cast(list[Segment], reply))
                    segment_bytes += sum(map(len, reply))
                    if segment_bytes >= SEND_BUFFER_BYTES_MAX:
                        break
                elif reply is not None:
                    self._wait_for(cast(Awaitable[Finished], reply))
                    if self._waiting >= self._shared.calls_in_flight_max:
                        break
        finally:
            # Also when a record was no call at all: what stood before it is answered, and released by who sends it.
            self._records_seen += done
            self._records = records[done:]
            if segments is not None:
                self._output.write(segments)
            elif replies:
                self._output.write_plain(replies)
        if self._records or self._waiting or self._output.pending_bytes or not self._reading:
            self._pump()

    def _continue(self) -> None:
        self._continuing = False
        if self._closed:
            return
        try:
            self._answer()
        except Exception as error:
            self._broken(error)

    # ---- replies that wait ----

    def _wait_for(self, reply: Awaitable[Finished]) -> None:
        self._waiting += 1
        shared = self._shared
        task = shared.loop.create_task(self._finish(reply), name=f"nfsd call of {self.peer}")
        shared.waiting.add(task)
        task.add_done_callback(shared.waiting.discard)

    async def _finish(self, reply: Awaitable[Finished]) -> None:
        try:
            finished = await reply
        finally:
            self._waiting -= 1
        parts: list[Segment] = [finished] if isinstance(finished, bytes) else cast(list[Segment], finished or [])
        if self._closed:
            _release(parts)
            return
        if not self._sending_soon:
            # Calls that waited for one flush come back in one turn: their replies leave together.
            self._sending_soon = True
            self._shared.loop.call_soon(self._send_finished)
        self._finished.extend(parts)

    def _send_finished(self) -> None:
        segments, self._finished = self._finished, []
        self._sending_soon = False
        if self._closed:
            _release(segments)
            return
        try:
            self._output.write(segments)
            self._pump()
        except Exception as error:
            self._broken(error)

    # ---- sending ----

    def _writable(self) -> None:
        try:
            self._output.flush()
            self._active_at = self._shared.loop.time()
            self._pump()
        except Exception as error:
            self._broken(error)

    # ---- what the loop should watch ----

    def _pump(self) -> None:
        """Bring reader, writer and continuation in line with the state. Cheap to call when nothing changed."""
        if self._closed:
            return
        loop, pending_bytes = self._shared.loop, self._output.pending_bytes
        blocked = pending_bytes >= SEND_BUFFER_BYTES_MAX or self._waiting >= self._shared.calls_in_flight_max
        leaving = self._leave_to is not None and not self._draining and self._unanswered_bytes() <= RECEIVE_BYTES_IDLE
        blocked = blocked or leaving
        if self._records and not blocked and not self._continuing:
            self._continuing = True
            loop.call_soon(self._continue)
        reading = not (blocked or self._records or self._draining)
        if reading != self._reading:
            self._reading = reading
            if reading:
                loop.add_reader(self._fd, self._readable)
            else:
                loop.remove_reader(self._fd)
        if (pending_bytes > 0) != self._writing:
            self._writing = pending_bytes > 0
            if self._writing:
                loop.add_writer(self._fd, self._writable)
            else:
                loop.remove_writer(self._fd)
        if self._draining and not self.busy:
            self.close()
        elif leaving and not (self._waiting or self._sending_soon or pending_bytes):
            self._hand_over()

    # ---- to another process ----

    def leave(self, to: Callable[[Connection, socket.socket, bytes], None]) -> None:
        """Take no more calls; when those taken are answered and sent, give up the socket: `to(self, socket, rest)`.

        `rest`: what was received and not answered, `RECEIVE_BYTES_IDLE` bytes at most; a larger record is answered here
        first. The new owner of the socket constructs a `Connection` with both. A connection that ends before that, or
        is drained, never calls `to`. `Shared.closed` is told in any case.
        """
        self._leave_to = to
        self._shared.loop.call_soon(self._pump)

    def _unanswered_bytes(self) -> int:
        # A mark for each record, and one for the fragments of the record under way.
        records = sum(end - start + MARK_BYTES for _, start, end in self._records)
        return records + self._received.buffered_bytes + MARK_BYTES

    def _hand_over(self) -> None:
        to, connected = self._leave_to, self._socket
        assert to is not None
        rest = b"".join(marked_record(buf, start, end) for buf, start, end in self._records) + self._received.rest()
        self._closed = True
        self._shared.loop.remove_reader(self._fd)
        self.count_sent()
        self._records = []
        to(self, connected, rest)
        self._shared.closed(self)

    # ---- the end ----

    @property
    def busy(self) -> bool:
        """Whether something that was received is not answered, or an answer not sent."""
        return bool(self._records or self._waiting or self._sending_soon or self._output.pending_bytes)

    @property
    def pending_bytes(self) -> int:
        """Reply bytes the peer has not taken yet."""
        return self._output.pending_bytes

    def count_sent(self) -> None:
        """Add what was sent since the last time to the server's count: once a second, not once a reply."""
        self._shared.stats.sent_bytes += self._output.sent_bytes
        self._output.sent_bytes = 0

    def drain(self) -> None:
        """Take no more calls; close when those received are answered and sent."""
        self._draining = True
        self._pump()

    def overdue(self, now: float) -> str | None:
        """Why this connection has to go at loop time `now`: idle, or in the middle of a record for too long."""
        if self._waiting:
            return None
        if now - self._active_at > CONNECTION_IDLE_SECONDS:
            return f"nothing moved for {CONNECTION_IDLE_SECONDS} s"
        if not self._records_seen and now - self._opened_at > RECORD_SECONDS_MAX:
            return f"no call in the first {RECORD_SECONDS_MAX} s"
        if not self._reading or not self._received.buffered_bytes:
            self._partial = None
        elif self._partial is None or self._partial[1] != self._records_seen:
            self._partial = (now, self._records_seen)
        elif now - self._partial[0] > RECORD_SECONDS_MAX:
            return f"a record was not complete after {RECORD_SECONDS_MAX} s"
        return None

    def close(self) -> None:
        """Now. Replies not sent are given up; work under way ends, and nobody is told. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        loop = self._shared.loop
        loop.remove_reader(self._fd)
        loop.remove_writer(self._fd)
        self.count_sent()
        self._output.discard()
        self._records = []
        self._socket.close()
        self._shared.closed(self)

    def _broken(self, error: Exception) -> None:
        """The connection's boundary: whatever was raised, this connection ends here and no other one does."""
        if isinstance(error, RecordError):
            self._shared.stats.connections_broken += 1
            self._shared.peers_log.warning("closing %s: it broke the protocol: %s", self.peer, error)
        elif isinstance(error, OSError):
            # ECONNRESET, EPIPE, ETIMEDOUT: the peer is gone, which is no news.
            log.debug("connection %s ended: %s", self.peer, error)
        else:
            self._shared.stats.handler_errors += 1
            log.error("closing %s: our own mistake", self.peer, exc_info=error)
        self.close()


def _release(parts: list[Segment]) -> None:
    for part in parts:
        if not isinstance(part, bytes):
            part.release()
