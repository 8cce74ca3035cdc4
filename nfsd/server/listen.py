"""Listening sockets: bind them, and say what to do when that does not work; accept from them, and survive it.

SO_REUSEADDR lets a restarted server bind while connections of the one before are still in TIME_WAIT: clients with a
mount reconnect within a second or two, and must find it. It does not let two servers share a port (Linux, socket(7)).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterable

log = logging.getLogger("nfsd")

_BACKLOG = 512
# Out of descriptors or memory: the backlog waits in the kernel meanwhile.
_PAUSE_SECONDS = 1.0
_SHORT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Accepted = Callable[[socket.socket, str, int], None]


class ListenError(Exception):
    """An address cannot be listened on. The message names it, the reason and the next step; `errno` is the kernel's."""

    def __init__(self, message: str, number: int | None) -> None:
        super().__init__(message)
        self.errno = number


def bind(addresses: Iterable[tuple[str, int]]) -> list[socket.socket]:
    """Listening, non-blocking sockets on all the addresses, or `ListenError` and none."""
    sockets: list[socket.socket] = []
    try:
        for host, port in addresses:
            sockets.append(_bind(host, port))
    except BaseException:
        for listening in sockets:
            listening.close()
        raise
    return sockets


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "::" means IPv6 only, so that 0.0.0.0 can be listened on beside it.
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise ListenError(_why_not(host, port, error), error.errno) from error
    return listening


def _why_not(host: str, port: int, error: OSError) -> str:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use by another program; see which: ss -ltnp 'sport = :{port}'"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where} is no address of this host; see which it has: ip -brief address"
    if error.errno == errno.EACCES:
        return (
            f"{where}: ports below 1024 need CAP_NET_BIND_SERVICE; take a port from 1024 on, or let the service "
            "have it (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)"
        )
    return f"{where} cannot be listened on: {error}"


class Listener:
    """One listening socket, accepting until it is closed. Owns the socket."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, listening: socket.socket, accepted: Accepted, per_turn: int
    ) -> None:
        """`accepted(socket, host, port)` takes over each socket; at most `per_turn` in one turn of the loop."""
        self._loop = loop
        self._socket = listening
        self._accepted = accepted
        self._per_turn = per_turn
        self._pause: asyncio.TimerHandle | None = None
        self.address: tuple[str, int] = listening.getsockname()[:2]
        loop.add_reader(listening.fileno(), self._readable)

    def _readable(self) -> None:
        for _ in range(self._per_turn):
            try:
                connected, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._failed(error)
                return
            self._accepted(connected, address[0], address[1])

    def _failed(self, error: OSError) -> None:
        """accept(2) hands on the network's errors of the one connection; only a shortage of ours is worth a pause."""
        if error.errno not in _SHORT_OF:
            log.warning("accepting on %s:%d: %s", *self.address, error)
            return
        log.error("no connection can be accepted for %g s: %s", _PAUSE_SECONDS, error)
        self._loop.remove_reader(self._socket.fileno())
        self._pause = self._loop.call_later(_PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def close(self) -> None:
        """Safe to call twice."""
        if self._socket.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
