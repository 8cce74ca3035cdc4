"""Messages between the supervisor of several workers and one of them, some with a descriptor (unix(7), SCM_RIGHTS).

    a line of JSON | payload            one message of a SOCK_SEQPACKET pair

The rule: a socket that was given to `send` is the channel's until it is on its way, and closed here then.
"""

from __future__ import annotations

import array
import asyncio
import json
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from nfsd.limits import CHANNEL_MESSAGE_BYTES_MAX

_PER_TURN = 64

Received = Callable[[dict[str, Any], bytes, "socket.socket | None"], None]


def channel_pair() -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in pair:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * CHANNEL_MESSAGE_BYTES_MAX)
    return pair


class Channel:
    """One end. Owns its socket."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, end: socket.socket, received: Received, ended: Callable[[], None]
    ) -> None:
        """`received(message, payload, descriptor)` for each message; `ended()` once, when the other end is gone."""
        self._loop = loop
        self._socket = end
        self._received = received
        self._ended = ended
        self._queue: deque[tuple[bytes, socket.socket | None]] = deque()
        self._writing = False
        loop.add_reader(end.fileno(), self._readable)

    def send(self, message: dict[str, Any], payload: bytes = b"", descriptor: socket.socket | None = None) -> None:
        if self._socket.fileno() < 0:
            if descriptor is not None:
                descriptor.close()
            return
        self._queue.append((json.dumps(message).encode() + b"\n" + payload, descriptor))
        self._flush()

    def close(self) -> None:
        """What was not sent is given up. Safe to call twice."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for _data, descriptor in self._queue:
            if descriptor is not None:
                descriptor.close()
        self._queue.clear()

    def _flush(self) -> None:
        if self._socket.fileno() < 0:
            return
        while self._queue:
            data, descriptor = self._queue[0]
            rights = [] if descriptor is None else [_rights(descriptor)]
            try:
                self._socket.sendmsg([data], rights)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                break  # the other end is gone, as the reader is about to learn
            self._queue.popleft()
            if descriptor is not None:
                descriptor.close()
        if bool(self._queue) != self._writing:
            self._writing = bool(self._queue)
            if self._writing:
                self._loop.add_writer(self._socket.fileno(), self._flush)
            else:
                self._loop.remove_writer(self._socket.fileno())

    def _readable(self) -> None:
        for _ in range(_PER_TURN):
            if self._socket.fileno() < 0:
                return
            try:
                data, ancillary, _flags, _address = self._socket.recvmsg(
                    CHANNEL_MESSAGE_BYTES_MAX, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC
                )
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data, ancillary = b"", []
            if not data:
                self._loop.remove_reader(self._socket.fileno())
                self._loop.remove_writer(self._socket.fileno())
                self._ended()
                return
            head, _, payload = data.partition(b"\n")
            self._received(json.loads(head), payload, _descriptor(ancillary))


def _rights(descriptor: socket.socket) -> tuple[int, int, bytes]:
    return socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor.fileno()]).tobytes()


def _descriptor(ancillary: list[tuple[int, int, bytes]]) -> socket.socket | None:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            return socket.socket(fileno=array.array("i", data[:4])[0])
    return None
