"""The sending half of a connection: replies in order, few system calls, bounded by its owner.

A reply is made of segments: `bytes`, a `Pooled` view into a buffer that somebody wants back, or a `FilePart` of the
page cache for sendfile(2). What can go at once goes at once; the rest waits in a queue until the socket is writable.

The rule: a `Pooled` and a `FilePart` are released exactly once, when their last byte is sent or given up. Everything
that enters `write` leaves through `_sent` or `discard`.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from nfsd.procedures.parts import FilePart, Pooled

Segment: TypeAlias = bytes | Pooled | FilePart

# Buffers in one sendmsg. Far below IOV_MAX (1024); a longer vector saves nothing.
_VECTOR_MAX = 64
# Segments up to this size are cheaper to copy into one buffer than to pass as vectors of their own.
_JOIN_BYTES_MAX = 16384


class Output:
    """What one connection still has to send. Raises the socket's `OSError` when it is broken; then `discard` it."""

    __slots__ = ("_fd", "_queue", "_socket", "pending_bytes", "sent_bytes")

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._fd = connected.fileno()
        self._queue: deque[Segment] = deque()
        self.pending_bytes = 0
        self.sent_bytes = 0

    def write_plain(self, replies: Sequence[bytes]) -> None:
        """The common wake-up: small replies only."""
        data = replies[0] if len(replies) == 1 else b"".join(replies)
        if not self._queue:
            try:
                count = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                count = 0
            self.sent_bytes += count
            if count == len(data):
                return
            data = data[count:]
        self.pending_bytes += len(data)
        self._queue.append(data)

    def write(self, segments: Sequence[Segment]) -> None:
        """Replies of any kind; `bytes` that follow one another are joined."""
        queue = self._queue
        was_empty = not queue
        small: list[bytes] = []
        for segment in segments:
            length = len(segment)
            self.pending_bytes += length
            if isinstance(segment, bytes) and length <= _JOIN_BYTES_MAX:
                small.append(segment)
                continue
            if small:
                queue.append(b"".join(small))
                small = []
            if length:
                queue.append(segment)
            elif not isinstance(segment, bytes):
                segment.release()
        if small:
            queue.append(b"".join(small))
        if was_empty:
            self.flush()

    def flush(self) -> None:
        """Send until the queue is empty or the socket takes no more."""
        queue = self._queue
        try:
            while queue:
                first = queue[0]
                if isinstance(first, FilePart):
                    if not self._send_file(first):
                        return
                elif not self._send_buffers():
                    return
        except (BlockingIOError, InterruptedError):
            return

    def discard(self) -> None:
        """Give up what was not sent: the connection is closed."""
        queue, self._queue = self._queue, deque()
        self.pending_bytes = 0
        for segment in queue:
            if not isinstance(segment, bytes):
                segment.release()

    def _send_buffers(self) -> bool:
        """One sendmsg of what stands before the next file range. False when the socket took only a part of it."""
        buffers: list[bytes | memoryview] = []
        flags = 0
        for segment in self._queue:
            if isinstance(segment, FilePart):
                # The header leaves in one packet with the data that sendfile puts behind it.
                flags = socket.MSG_MORE
                break
            if len(buffers) == _VECTOR_MAX:
                break
            buffers.append(segment if isinstance(segment, bytes) else segment.data)
        wanted = sum(map(len, buffers))
        count = self._socket.sendmsg(buffers, (), flags)
        self._sent(count)
        return count == wanted

    def _send_file(self, part: FilePart) -> bool:
        try:
            count = os.sendfile(self._fd, part.fd, part.offset, len(part))
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            # A file system without splice. What cannot be read either (EIO) breaks the connection: no reply can say it.
            data = os.pread(part.fd, len(part), part.offset)
            self._queue[0] = data + bytes(len(part) - len(data))
            part.release()
            return True
        if count == 0:
            # The file shrank after its length was promised: the record has to keep its length (RFC 1813 section 3.3.6
            # knows no other way to take a READ back once its header is on the wire).
            self._queue[0] = bytes(len(part))
            part.release()
            return True
        self._sent(count)
        return count == len(part)

    def _sent(self, count: int) -> None:
        """Take `count` bytes off the front of the queue."""
        self.sent_bytes += count
        self.pending_bytes -= count
        queue = self._queue
        while count:
            segment = queue[0]
            length = len(segment)
            if count < length:
                queue[0] = segment[count:] if isinstance(segment, bytes) else segment.advance(count)
                return
            count -= length
            queue.popleft()
            if not isinstance(segment, bytes):
                segment.release()
