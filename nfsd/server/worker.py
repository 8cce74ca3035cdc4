"""One of several worker processes behind one port: a server without listening sockets.

Its connections are given to it, its calls go through a `Router`, and the other workers send it the calls that are its.

The rule: it goes on answering the others until `close`, also after `drain`: they drain too, and wait for it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from nfsd.exports import ExportTable
from nfsd.limits import LINK_CALLS_MAX
from nfsd.server.connection import Connection, Peer, Shared
from nfsd.server.link import OwnerLink, link_buffers, served_call
from nfsd.server.router import Ownership, Router
from nfsd.server.server import NfsServer, prepare
from nfsd.server.stats import ServerStats

Closed = Callable[[int], None]
Moved = Callable[[int, int, socket.socket, bytes], None]


class WorkerServer(NfsServer):
    """Serves the export table of one worker. `adopt`, `link_to` and `link_from` bring it its work after `start`."""

    def __init__(
        self, exports: ExportTable, owned: Ownership, others: list[int], *, closed: Closed, moved: Moved,
        replay_file: Path | None = None,
    ) -> None:  # fmt: skip
        """`others`: the other workers' numbers. `closed(number)`: the connection of this number has ended.
        `moved(number, owner, socket, rest)`: it goes to that worker, who `adopt`s it; take over the socket."""
        super().__init__(exports, listen=(), replay_file=replay_file)
        exports.served_elsewhere(owned.keys.keys())
        self._owned = owned
        self._others = others
        self._tell_closed = closed
        self._tell_moved = moved
        self._numbers: dict[Connection, int] = {}
        self._by_peer: dict[Peer, Connection] = {}
        self._links: dict[int, OwnerLink] = {}
        self._served: set[Connection] = set()
        self._served_shared: Shared | None = None

    def _new_shared(self, loop: asyncio.AbstractEventLoop) -> Shared:
        shared = super()._new_shared(loop)
        self._links = {other: OwnerLink(loop, self._lost) for other in self._others}
        self._served_shared = replace(
            shared, call=served_call(shared.call), closed=self._served.discard, buffers=link_buffers(), waiting=set(),
            stats=ServerStats(),
            calls_in_flight_max=LINK_CALLS_MAX,
        )  # fmt: skip
        self._router = Router(shared.call, self._links, self._owned, self._prefers)
        return replace(shared, call=self._router.call)

    def adopt(self, number: int, connected: socket.socket, host: str, port: int, rest: bytes) -> None:
        """Serve this connection; `rest` was received on it already."""
        if self._shared is None or self._closing:
            connected.close()
            self._tell_closed(number)
            return
        prepare(connected)
        peer = Peer(host, port)
        self.stats.connections_accepted += 1
        self._admission.opened(host)
        connection = Connection(connected, peer, self._shared, rest)
        self._numbers[connection] = number
        self._by_peer[peer] = connection
        self._connections.add(connection)
        self.stats.connections = len(self._connections)

    def link_to(self, owner: int, connected: socket.socket) -> None:
        """Calls for that worker go there from now on."""
        self._links[owner].connect(connected)

    def link_from(self, worker: int, connected: socket.socket) -> None:
        """Answer the calls that worker sends here."""
        assert self._served_shared is not None
        connected.setblocking(False)
        self._served.add(Connection(connected, Peer("worker", worker), self._served_shared))

    async def drain(self, drain_seconds: float = 10.0) -> None:
        """As `close`, but for the other workers, who are answered all the while."""
        await self._drain(drain_seconds)

    async def close(self, drain_seconds: float = 10.0) -> None:
        await self.drain(drain_seconds)
        for link in self._links.values():
            link.close()
        for served in list(self._served):
            served.close()
        if self._served_shared is not None:
            for task in list(self._served_shared.waiting):
                task.cancel()
            await asyncio.gather(*self._served_shared.waiting, return_exceptions=True)
        await super().close(0)

    def _closed(self, connection: Connection) -> None:
        super()._closed(connection)
        self._by_peer.pop(connection.peer, None)
        self._router.forget(connection.peer)
        number = self._numbers.pop(connection, None)
        if number is not None:
            self._tell_closed(number)

    def _lost(self, peer: Peer) -> None:
        connection = self._by_peer.get(peer)
        if connection is not None:
            connection.close()

    def _prefers(self, peer: Peer, owner: int) -> None:
        connection = self._by_peer.get(peer)
        if connection is None:
            return

        def move(leaving: Connection, connected: socket.socket, rest: bytes) -> None:
            self._tell_moved(self._numbers.pop(leaving), owner, connected, rest)

        connection.leave(move)
