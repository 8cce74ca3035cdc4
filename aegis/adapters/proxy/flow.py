"""One TCP connection as a flow of bytes with back-pressure: read piece by piece, or joined with another one.

Joined, each side's bytes are written to the other as they come, without a copy of ours or a task between: a side that
cannot take more stops the other from reading (`pause_writing`). An end of one direction is passed on as that, and the
other direction goes on (half-close); when a side is lost, the other is closed behind what was written.

The rule to know: a flow holds at most one read more than its two bounds below, whatever the peers do.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import cast

WAITING_BYTES_MAX = 256 * 1024  # read and not taken yet; then the peer is not read from any more
UNSENT_BYTES_MAX = 1024 * 1024  # written and not taken by the peer yet; then its source is not read from any more
CLOSE_SECONDS = 10.0  # for a peer to take what was written before the end

_RESET = struct.pack("ii", 1, 0)  # struct linger: on, for no time

Count = Callable[[int], None]


class FlowLost(ConnectionError):
    """The connection ended otherwise than by the peer's end of stream."""


class Flow(asyncio.Protocol):
    """`on_connected` is called once, in the turn of the event loop in which the connection is there."""

    def __init__(self, on_connected: Callable[[Flow], None] | None = None) -> None:
        self._on_connected = on_connected
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._chunks: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._peer: Flow | None = None
        self._count: Count | None = None
        self._wake = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self.lost = asyncio.Event()
        self.ended = asyncio.Event()  # nothing more will come from here
        self._error: BaseException | None = None
        self.active_at = self._loop.time()  # when bytes last came, or could go again

    # ---- for who holds it ----

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None  # nobody has a flow before it is connected
        return self._transport

    async def read(self) -> bytes:
        """The next bytes, as many as there are; b"" at the end of the stream. FlowLost."""
        while not self._chunks:
            if self._error is not None:
                raise FlowLost(str(self._error) or type(self._error).__name__) from self._error
            if self.ended.is_set():
                return b""
            self._wake.clear()
            await self._wake.wait()
        chunk = self._chunks.popleft()
        self._waiting_bytes -= len(chunk)
        if self._waiting_bytes < WAITING_BYTES_MAX:
            self._resume()
        return chunk

    def unread(self, data: bytes) -> None:
        """Give back what was read and not used."""
        if data:
            self._chunks.appendleft(data)
            self._waiting_bytes += len(data)

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more. FlowLost."""
        if self.lost.is_set():
            raise FlowLost("the connection is closed")
        self.transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()

    def join(self, peer: Flow, count: Count) -> None:
        """From now on what comes from here goes to `peer`; `count` is told how much. Both sides have to be joined."""
        self._peer = peer
        self._count = count
        peer.transport.set_write_buffer_limits(high=UNSENT_BYTES_MAX)
        while self._chunks:
            self._pass_on(self._chunks.popleft())
        self._waiting_bytes = 0
        if self.lost.is_set():
            peer.close()
        elif self.ended.is_set():
            peer.finish()
        elif peer._writable.is_set():
            self._resume()

    def finish(self) -> None:
        """End our direction behind what was written."""
        if self.lost.is_set() or self.transport.is_closing():
            return
        try:
            self.transport.write_eof()
        except OSError:  # reset by the peer, which the transport has not seen yet
            self.abort()

    def close(self) -> None:
        """End both behind what was written; a peer that does not take it within `CLOSE_SECONDS` is cut."""
        if not self.lost.is_set() and not self.transport.is_closing():
            self.transport.close()
            self._loop.call_later(CLOSE_SECONDS, self.abort)

    def abort(self) -> None:
        """End both at once, and so that the peer sees it was no orderly end."""
        if not self.lost.is_set():
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()

    # ---- for the transport ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._on_connected is not None:
            self._on_connected(self)

    def data_received(self, data: bytes) -> None:
        self.active_at = self._loop.time()
        if self._peer is not None:
            self._pass_on(data)
            return
        self._chunks.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= WAITING_BYTES_MAX:
            self.transport.pause_reading()
        self._wake.set()

    def eof_received(self) -> bool:
        self.ended.set()
        self._wake.set()
        if self._peer is not None:
            self._peer.finish()
        return True  # our own direction stays open

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None or not self.ended.is_set():
            self._error = error or ConnectionAbortedError("the connection was closed")
        self.lost.set()
        self.ended.set()
        self._wake.set()
        self._writable.set()
        if self._peer is not None:
            self._peer.close()

    def pause_writing(self) -> None:
        self._writable.clear()
        if self._peer is not None and not self._peer.lost.is_set():
            self._peer.transport.pause_reading()

    def resume_writing(self) -> None:
        self.active_at = self._loop.time()
        self._writable.set()
        if self._peer is not None:
            self._peer._resume()

    def _pass_on(self, data: bytes) -> None:
        peer, count = self._peer, self._count
        assert peer is not None and count is not None
        count(len(data))
        if not peer.transport.is_closing():
            peer.transport.write(data)

    def _resume(self) -> None:
        if not self.lost.is_set() and not self.ended.is_set():
            self.transport.resume_reading()


async def until_over(one: Flow, other: Flow, idle_seconds: float) -> None:
    """Returns when two joined flows have ended in both directions; a pair through which nothing has gone for so long is
    cut. Both are closed on return, or on their way to it."""
    loop = asyncio.get_running_loop()
    ends = [asyncio.create_task(flow.ended.wait(), name="end of a tunnel") for flow in (one, other)]
    try:
        while True:
            idle = loop.time() - max(one.active_at, other.active_at)
            if idle >= idle_seconds or one.lost.is_set() or other.lost.is_set():
                break
            _, pending = await asyncio.wait(ends, timeout=idle_seconds - idle)
            if not pending:
                break
    finally:
        for end in ends:
            end.cancel()
        one.close()
        other.close()
