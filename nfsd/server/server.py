"""The NFS server: listening sockets, the connections, and their common clock. The only asyncio in the package's shell.

    exports = ExportTable(secret)
    exports.attach(Export(b"/tenant/volume", key, fs, fsid))
    server = NfsServer(exports, listen=[("127.0.0.1", 2049)])
    await server.start()
    ...
    await server.close()

NFS and MOUNT, both version 3, are served on every address, over TCP. There is no portmapper and no NFSACL: a client is
told both ports (`port=2049,mountport=2049,nolock`), and what is not served is PROG_UNAVAIL, which every client takes
for "not here" (a half-served NFSACL made `cp -a` fail on other servers).

The rule: start and close mirror each other, and each resource is released by the object that took it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nfsd.exports import ExportTable
from nfsd.limits import CONNECTIONS_MAX
from nfsd.mount3.program import MountProcedures
from nfsd.mount3.types import MOUNT_PROGRAM, MOUNT_V3
from nfsd.nfs3.const import NFS_PROGRAM, NFS_V3
from nfsd.procedures.replayed import NOT_REPEATABLE, ReplayGuard
from nfsd.procedures.table import nfs3_handlers
from nfsd.rpc.program import CallName, Dispatcher
from nfsd.rpc.record import BufferPool
from nfsd.server.access import AccessRule
from nfsd.server.admission import Admission
from nfsd.server.connection import Connection, Peer, Shared
from nfsd.server.listen import Listener, ListenError, bind
from nfsd.server.logs import LimitedLog
from nfsd.server.replay_file import ReplayFile, open_replay_file
from nfsd.server.stats import ServerStats
from nfsd.server.turns import turns_of

log = logging.getLogger("nfsd")

__all__ = ["ListenError", "NfsServer"]

# How often connections are looked over for idle ones; how often gauges and counts are brought up to date.
_SWEEP_SECONDS = 15.0
_TICK_SECONDS = 1.0
# Connections taken from one listening socket before the others have their turn.
_ACCEPTS_PER_TURN_MAX = 32


class NfsServer:
    """Serves an export table. One event loop, one instance; `start` once, `close` any number of times."""

    def __init__(
        self,
        exports: ExportTable,
        *,
        listen: Iterable[tuple[str, int]] = (("127.0.0.1", 2049),),
        allowed: Iterable[str] = (),
        reserved_ports_only: bool = False,
        list_exports: bool = True,
        connections_max: int = CONNECTIONS_MAX,
        replay_file: Path | None = None,
    ) -> None:
        """`listen`: numeric addresses and ports; port 0 lets the kernel choose, see `addresses`. `allowed`: addresses
        and CIDR networks that may connect beside the host's own addresses. `reserved_ports_only`: refuse peers whose
        port is 1024 or above, which are ordinary users' programs. `list_exports` False: MOUNT's EXPORT and DUMP are
        answered with empty lists. `replay_file`: where answers are kept for the next process (see `ReplayFile`); None:
        a call whose answer was lost with this process is done again. ValueError when `allowed` names no network.
        """
        self.exports = exports
        self.stats = ServerStats()
        self._listen = list(listen)
        self._admission = Admission(AccessRule(allowed, reserved_ports_only=reserved_ports_only), connections_max)
        self._list_exports = list_exports
        self._replay_path = replay_file
        self._replay_file: ReplayFile | None = None
        self._listeners: list[Listener] = []
        self._connections: set[Connection] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._quiet = asyncio.Event()
        self._shared: Shared | None = None
        self._closing = False

    # ---- start and close ----

    async def start(self) -> None:
        """Clients can connect when this returns. `ListenError` when an address cannot be had; nothing is open then."""
        loop = asyncio.get_running_loop()
        self._shared = self._new_shared(loop)
        self.stats.turns = turns_of(loop)
        sockets = bind(self._listen)
        self._listeners = [Listener(loop, listening, self._accept, _ACCEPTS_PER_TURN_MAX) for listening in sockets]
        self._every(_SWEEP_SECONDS, "sweep", self._sweep)
        self._tick(loop.time())

    async def close(self, drain_seconds: float = 10.0) -> None:
        """Take no more connections and no more calls, answer what was received, then close.

        After `drain_seconds` what is left is closed unanswered. The exports' file systems stay open: they are their
        owner's. Safe to call twice.
        """
        await self._drain(drain_seconds)
        if self._replay_file is not None:
            self._replay_file.close()

    async def _drain(self, drain_seconds: float) -> None:
        self._closing = True
        for listener in self._listeners:
            listener.close()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._shared is None:
            return
        for connection in list(self._connections):
            connection.drain()
        try:
            async with asyncio.timeout(drain_seconds):
                while self._connections:
                    self._quiet.clear()
                    await self._quiet.wait()
                while self._shared.waiting:
                    await asyncio.wait(self._shared.waiting)
        except TimeoutError:
            log.warning(
                "closing with %d connections and %d calls unanswered after %g s",
                len(self._connections),
                len(self._shared.waiting),
                drain_seconds,
            )
        for connection in list(self._connections):
            connection.close()
        waiting = list(self._shared.waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    def _new_shared(self, loop: asyncio.AbstractEventLoop) -> Shared:
        dispatcher = Dispatcher(self._handler_failed)
        dispatcher.add(NFS_PROGRAM, NFS_V3, nfs3_handlers(self.exports, self.stats.procedures))
        dispatcher.add(MOUNT_PROGRAM, MOUNT_V3, MountProcedures(self.exports, listed=self._list_exports).handlers())
        self._replay_file = open_replay_file(self._replay_path)
        guard = ReplayGuard(self.stats.procedures, loop.time, self._replay_file, _flush_everything)
        dispatcher.guard(NFS_PROGRAM, NFS_V3, NOT_REPEATABLE, guard)
        return Shared(
            loop=loop,
            call=dispatcher.call,
            stats=self.stats,
            peers_log=LimitedLog(log, loop.time),
            closed=self._closed,
            buffers=BufferPool(),
            waiting=set(),
        )

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where the server listens, with the ports the kernel chose."""
        return [listener.address for listener in self._listeners]

    # ---- connections ----

    def _accept(self, accepted: socket.socket, host: str, port: int) -> None:
        """Take over a socket that a listener accepted, or refuse it before a byte of it is read."""
        shared = self._shared
        if shared is None:
            accepted.close()
            return
        refusal = self._admission.refusal(host, port)
        peer = Peer(host, port)
        if refusal is not None:
            self.stats.connections_refused += 1
            shared.peers_log.warning("refused a connection from %s: %s", peer, refusal)
            reset(accepted)
            return
        try:
            prepare(accepted)
        except OSError as error:
            log.debug("connection %s ended before it began: %s", peer, error)
            accepted.close()
            return
        self.stats.connections_accepted += 1
        self._admission.opened(host)
        self._connections.add(Connection(accepted, peer, shared))
        self.stats.connections = len(self._connections)

    def _closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self.stats.connections = len(self._connections)
        self._admission.closed(connection.peer.host)
        if not self._connections:
            self._quiet.set()

    def _sweep(self) -> None:
        """Close the connections that hold their place without using it."""
        assert self._shared is not None
        now = self._shared.loop.time()
        for connection in list(self._connections):
            reason = connection.overdue(now)
            if reason is not None:
                self.stats.connections_broken += 1
                log.info("closing %s: %s", connection.peer, reason)
                connection.close()

    # ---- what goes wrong, and how late we are ----

    def _handler_failed(self, peer: Any, name: CallName, error: Exception) -> None:
        self.stats.handler_errors += 1
        log.error(
            "call %#x of %s, program %d procedure %d: our own mistake, answered SYSTEM_ERR",
            name.xid,
            peer,
            name.prog,
            name.proc,
            exc_info=error,
        )

    def _tick(self, due: float) -> None:
        assert self._shared is not None
        loop = self._shared.loop
        lag = max(0.0, loop.time() - due)
        self.stats.loop_lag_seconds = lag
        self.stats.loop_lag_seconds_max = max(lag, self.stats.loop_lag_seconds_max)
        for connection in self._connections:
            connection.count_sent()
        due = loop.time() + _TICK_SECONDS
        self._timers["tick"] = loop.call_at(due, self._tick, due)

    def _every(self, seconds: float, name: str, action: Any) -> None:
        assert self._shared is not None
        loop = self._shared.loop

        def again() -> None:
            self._timers[name] = loop.call_later(seconds, again)
            action()

        self._timers[name] = loop.call_later(seconds, again)


async def _flush_everything() -> None:
    """What the process before us changed and had not flushed: on which file system is not known any more."""
    await asyncio.get_running_loop().run_in_executor(None, os.sync)


def prepare(accepted: socket.socket) -> None:
    """What every connection's socket is set to. OSError: it ended before it began."""
    accepted.setblocking(False)
    # Replies are whole when they are sent: nothing to wait for (Nagle), and a vanished client has to be noticed.
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def reset(refused: socket.socket) -> None:
    """Close with RST: the peer's connect or first send fails at once, and nothing lingers here."""
    try:
        refused.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTCONN):
            raise
    finally:
        refused.close()
