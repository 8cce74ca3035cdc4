"""`python -m nfsd --workers N`: the process that listens, deals connections out, and keeps N workers alive.

It answers no call. It accepts, checks who may connect and how many there are, and passes the descriptor to the worker
with the fewest; a connection that a worker gives up goes to the worker that was named. A worker that ends is started
again: its clients and those who waited for it are disconnected, and ask again.

The rule: everything that is counted for the whole server (connections, refusals) is counted here.
"""

from __future__ import annotations

import asyncio
import fcntl
import functools
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
from typing import Any

from nfsd.cli.options import Options
from nfsd.cli.serve import ServeError, announce, replay_file, state
from nfsd.limits import CONNECTIONS_MAX
from nfsd.server.access import AccessRule
from nfsd.server.admission import Admission
from nfsd.server.channel import Channel, channel_pair
from nfsd.server.connection import Peer
from nfsd.server.listen import Listener, bind
from nfsd.server.logs import LimitedLog
from nfsd.server.server import reset
from nfsd.vfs.descriptors import raise_descriptor_limit

log = logging.getLogger("nfsd")

_ACCEPTS_PER_TURN_MAX = 32
_RESTART_SECONDS_FIRST, _RESTART_SECONDS_MAX = 0.1, 10.0
_LOCK_LOOK_SECONDS = 0.05
_DRAIN_SECONDS, _END_SECONDS = 15.0, 15.0


class _Place:
    """One worker's place: its process of the moment, if there is one."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: Channel | None = None
        self.ready = self.drained = False
        self.connections: dict[int, tuple[str, int]] = {}
        self.restart_seconds = _RESTART_SECONDS_FIRST
        self.restart: asyncio.TimerHandle | None = None


class Supervisor:
    """`run` until SIGTERM or SIGINT."""

    def __init__(self, options: Options, workers: int) -> None:
        self._options = options
        self._places = [_Place(number) for number in range(workers)]
        self._admission = Admission(
            AccessRule(options.allowed, reserved_ports_only=options.reserved_ports_only), CONNECTIONS_MAX
        )
        self._listeners: list[Listener] = []
        self._numbers = itertools.count(1)
        self._stopping = False
        self._changed = asyncio.Event()
        self._failure: str | None = None
        self._secret, self._directory = state(options)
        self._lock: int | None = None

    async def run(self) -> None:
        """ServeError when a worker cannot serve its exports at the start; ListenError as `bind`."""
        stop = asyncio.Event()
        self._loop = loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, stop.set)
        raise_descriptor_limit()
        self._peers_log = LimitedLog(log, loop.time)
        sockets = bind(self._options.listen)
        try:
            self._lock = await self._locked()
            for place in self._places:
                self._start(place)
            await self._until(lambda: all(place.ready for place in self._places))
            self._listeners = [Listener(loop, listening, self._accept, _ACCEPTS_PER_TURN_MAX) for listening in sockets]
            announce(self._options, [listener.address for listener in self._listeners])
            await stop.wait()
        finally:
            for listener in self._listeners:
                listener.close()
            for listening in sockets:
                listening.close()
            await self._stop()
            if self._lock is not None:
                os.close(self._lock)

    async def _locked(self) -> int | None:
        """Held by this process and all its workers, who inherit it: while a worker of a supervisor that was killed
        still ends, nobody else serves its volumes."""
        replies = replay_file(self._options, self._directory)
        if replies is None:
            return None
        path = replies.with_name(f"{replies.name}.lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        deadline = self._loop.time() + _END_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                if self._loop.time() > deadline:
                    os.close(descriptor)
                    raise ServeError(
                        f"{path} is locked: workers of an earlier server have not ended; see which: fuser {path}"
                    ) from None
            await asyncio.sleep(_LOCK_LOOK_SECONDS)

    # ---- workers ----

    def _start(self, place: _Place) -> None:
        place.restart = None
        ours, theirs = channel_pair()
        inherited = [theirs.fileno()] if self._lock is None else [theirs.fileno(), self._lock]
        with theirs:
            place.process = subprocess.Popen(
                [sys.executable, "-m", "nfsd.cli.worker", str(theirs.fileno()), *self._options.arguments],
                pass_fds=inherited,
                stdin=subprocess.DEVNULL,
            )
        place.ready = place.drained = False
        place.channel = Channel(
            self._loop, ours, functools.partial(self._said, place), functools.partial(self._ended, place)
        )
        replies = replay_file(self._options, self._directory)
        place.channel.send({
            "number": place.number,
            "workers": len(self._places),
            "secret": self._secret.hex(),
            "directory": None if self._directory is None else str(self._directory),
            "replies": None if replies is None else replies.name,
        })  # fmt: skip
        for other in self._places:
            if other is not place and other.channel is not None:
                self._link(place, other)
                self._link(other, place)

    def _link(self, caller: _Place, owner: _Place) -> None:
        assert caller.channel is not None
        assert owner.channel is not None
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        caller.channel.send({"kind": "link to", "worker": owner.number}, b"", one)
        owner.channel.send({"kind": "link from", "worker": caller.number}, b"", other)

    def _said(self, place: _Place, message: dict[str, Any], payload: bytes, descriptor: socket.socket | None) -> None:
        kind = message["kind"]
        if kind == "closed":
            self._released(place, message["connection"])
        elif kind == "moved" and descriptor is not None:
            self._move(place, message["connection"], self._places[message["owner"]], descriptor, payload)
        elif kind == "failed":
            if self._listeners:
                log.error("worker %d cannot serve: %s", place.number, message["why"])
            else:
                self._failure = message["why"]
        elif kind == "ready":
            place.ready = True
            place.restart_seconds = _RESTART_SECONDS_FIRST
        elif kind == "drained":
            place.drained = True
        self._changed.set()

    def _ended(self, place: _Place) -> None:
        """The process is gone, or as good as: it has no way to its work any more."""
        assert place.process is not None
        assert place.channel is not None
        place.channel.close()
        place.channel = None
        if not self._stopping:
            place.process.kill()
        code = place.process.wait()
        was_ready, place.ready = place.ready, False
        for number in list(place.connections):
            self._released(place, number)
        if not self._stopping and (was_ready or self._listeners):
            log.error("worker %d ended with %d; it is started again in %g s", place.number, code, place.restart_seconds)
            place.restart = self._loop.call_later(place.restart_seconds, self._start, place)
            place.restart_seconds = min(2 * place.restart_seconds, _RESTART_SECONDS_MAX)
        elif not self._stopping and self._failure is None:
            self._failure = f"worker {place.number} ended with {code} before it could serve; see its messages above"
        self._changed.set()

    async def _until(self, true: Any) -> None:
        while not true():
            if self._failure is not None:
                raise ServeError(self._failure)
            self._changed.clear()
            await self._changed.wait()

    async def _stop(self) -> None:
        """All drain, then all end: one that has drained still answers those that have not."""
        self._stopping, self._failure = True, None
        for place in self._places:
            if place.restart is not None:
                place.restart.cancel()
        for word, seconds, true in (
            ("drain", _DRAIN_SECONDS, lambda: all(p.drained or p.channel is None for p in self._places)),
            ("end", _END_SECONDS, lambda: all(p.channel is None for p in self._places)),
        ):
            for place in self._places:
                if place.channel is not None:
                    place.channel.send({"kind": word})
            try:
                await asyncio.wait_for(self._until(true), seconds)
            except TimeoutError:
                log.warning("workers did not %s within %g s", word, seconds)
        for place in self._places:
            if place.channel is not None and place.process is not None:
                place.process.kill()
                place.process.wait()
                place.channel.close()

    # ---- connections ----

    def _accept(self, accepted: socket.socket, host: str, port: int) -> None:
        refusal = self._admission.refusal(host, port)
        ready = [place for place in self._places if place.ready and place.channel is not None]
        if refusal is None and not ready:
            refusal = "every worker is being started again"
        if refusal is not None:
            self._peers_log.warning("refused a connection from %s: %s", Peer(host, port), refusal)
            reset(accepted)
            return
        self._admission.opened(host)
        self._give(min(ready, key=lambda place: len(place.connections)), next(self._numbers), host, port, accepted)

    def _give(
        self, place: _Place, number: int, host: str, port: int, connected: socket.socket, rest: bytes = b""
    ) -> None:
        assert place.channel is not None
        place.connections[number] = host, port
        message = {"kind": "connection", "connection": number, "host": host, "port": port}
        place.channel.send(message, rest, connected)

    def _move(self, place: _Place, number: int, owner: _Place, connected: socket.socket, rest: bytes) -> None:
        host, port = place.connections.pop(number)
        if owner.channel is None:
            connected.close()  # nothing of `rest` was begun: the client asks again
            self._admission.closed(host)
            return
        self._give(owner, number, host, port, connected, rest)

    def _released(self, place: _Place, number: int) -> None:
        host, _port = place.connections.pop(number)
        self._admission.closed(host)
