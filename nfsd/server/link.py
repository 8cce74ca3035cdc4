"""Calls from one worker process to another, which owns the volume they are for; and their replies.

    call record:   8 number | 2 client's port | 1 length of his address | his address | the record as it came
    reply record:  8 number | the reply with its mark; nothing: the call is not answered

both marked as RFC 5531 section 11 says, over a Unix stream socket, one for each direction between two workers. The
owner serves it as any other connection (`served_call` in a `Connection`), so fairness, batches, sendfile and
back-pressure are those of every client; `OwnerLink` is the other end. Replies come in any order.

The rule: a call is sent to one process of the owner at most once. When that process is gone, what it was sent and did
not answer is `lost`: whoever sent it closes the client's connection, and the client sends it again with the same xid.
What was not sent yet waits for the next process.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, cast

from nfsd.errors import RecordError
from nfsd.limits import LINK_BYTES_MAX, LINK_CALLS_MAX, LINK_HEAD_BYTES_MAX, RECORD_BYTES_MAX
from nfsd.rpc.program import Finished, Reply
from nfsd.rpc.record import LAST_FRAGMENT, MARK_BYTES, BufferPool, RecordBuffer
from nfsd.server.connection import Call, Peer
from nfsd.server.output import Output, Segment

_CALL = struct.Struct(">IQHB")
_CALL_HEAD = struct.Struct(">QHB")
_REPLY = struct.Struct(">IQ")
_NUMBER = struct.Struct(">Q")


def link_buffers() -> BufferPool:
    """Receive buffers for a link: a record and what stands before it."""
    return BufferPool(MARK_BYTES + RECORD_BYTES_MAX + LINK_HEAD_BYTES_MAX)


class OwnerLink:
    """The way to one other worker. Before `connect`, and between two processes of the owner, calls wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lost: Callable[[Peer], None]) -> None:
        """`lost(peer)`: a call of this client went to a process that ended; called once for each such call."""
        self._loop = loop
        self._lost = lost
        self._socket: socket.socket | None = None
        self._output: Output | None = None
        self._received = RecordBuffer(link_buffers())
        self._queue: deque[tuple[int, Peer, bytes, asyncio.Future[Finished]]] = deque()
        self._sent: dict[int, tuple[Peer, int, asyncio.Future[Finished]]] = {}
        self._sent_bytes = 0
        self._number = 0
        self._soon = self._writing = False

    def connect(self, connected: socket.socket) -> None:
        """Speak to this process of the owner from now on. Takes over the socket; what the last one had is lost."""
        self._disconnect()
        connected.setblocking(False)
        self._socket, self._output = connected, Output(connected)
        self._received = RecordBuffer(link_buffers())
        self._loop.add_reader(connected.fileno(), self._readable)
        self._send()

    def call(self, peer: Peer, record: bytes) -> asyncio.Future[Finished]:
        """The reply, with its mark; None: there is none. Calls of one turn of the loop leave together."""
        reply: asyncio.Future[Finished] = self._loop.create_future()
        self._number += 1
        self._queue.append((self._number, peer, record, reply))
        if not self._soon:
            self._soon = True
            self._loop.call_soon(self._send)
        return reply

    def close(self) -> None:
        """Calls without an answer get none. Safe to call twice."""
        self._disconnect()
        for _number, _peer, _record, reply in self._queue:
            if not reply.done():
                reply.set_result(None)
        self._queue.clear()

    def _send(self) -> None:
        self._soon = False
        if self._output is None:
            return
        segments: list[Segment] = []
        while self._queue and len(self._sent) < LINK_CALLS_MAX and self._sent_bytes < LINK_BYTES_MAX:
            number, peer, record, reply = self._queue.popleft()
            if reply.done():  # cancelled: nobody waits for it
                continue
            host = peer.host.encode()
            length = len(record) + _CALL_HEAD.size + len(host)
            segments += (_CALL.pack(LAST_FRAGMENT | length, number, peer.port, len(host)), host, record)
            self._sent[number] = (peer, length, reply)
            self._sent_bytes += length
        try:
            self._output.write(segments)
        except OSError:
            self._disconnect()
            return
        self._watch()

    def _watch(self) -> None:
        assert self._output is not None
        assert self._socket is not None
        writing = self._output.pending_bytes > 0
        if writing == self._writing:
            return
        self._writing = writing
        if writing:
            self._loop.add_writer(self._socket.fileno(), self._writable)
        else:
            self._loop.remove_writer(self._socket.fileno())

    def _writable(self) -> None:
        assert self._output is not None
        try:
            self._output.flush()
        except OSError:
            self._disconnect()
            return
        self._watch()

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            count = self._socket.recv_into(self._received.space())
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            count = 0
        if not count:
            self._disconnect()
            return
        for buf, start, end in self._received.feed(count):
            (number,) = _NUMBER.unpack_from(buf, start)
            _peer, length, reply = self._sent.pop(number)
            self._sent_bytes -= length
            if not reply.done():
                reply.set_result(bytes(memoryview(buf)[start + _NUMBER.size : end]) or None)
        if self._queue:
            self._send()

    def _disconnect(self) -> None:
        if self._socket is None or self._output is None:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._output.discard()
        self._socket.close()
        self._socket = self._output = None
        self._writing = False
        sent, self._sent, self._sent_bytes = self._sent, {}, 0
        for peer, _length, reply in sent.values():
            self._lost(peer)
            if not reply.done():
                reply.set_result(None)


@lru_cache(maxsize=1024)
def _peer(host: bytes, port: int) -> Peer:
    return Peer(host.decode(), port)


def served_call(call: Call) -> Call:
    """The owner's end: `call` answers what is in a call record, for the client named there."""

    def answer(_worker: Peer, buf: bytearray, start: int, end: int) -> Reply:
        number, port, length = _CALL_HEAD.unpack_from(buf, start)
        begin = start + _CALL_HEAD.size + length
        try:
            reply = call(_peer(bytes(buf[begin - length : begin]), port), buf, begin, end)
        except RecordError:
            return _numbered(number, None)
        if reply is None or type(reply) is bytes or type(reply) is list:
            return _numbered(number, reply)
        return cast(Reply, _later(number, cast(Awaitable[Finished], reply)))

    return answer


async def _later(number: int, reply: Awaitable[Finished]) -> Finished:
    return _numbered(number, await reply)


def _numbered(number: int, reply: Finished) -> Finished:
    if isinstance(reply, bytes):
        return _REPLY.pack(LAST_FRAGMENT | len(reply) + _NUMBER.size, number) + reply
    parts: list[Any] = reply or []
    return [_REPLY.pack(LAST_FRAGMENT | sum(map(len, parts)) + _NUMBER.size, number), *parts]
