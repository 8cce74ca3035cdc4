"""A worker process of `python -m nfsd --workers`: started by the supervisor, never by hand.

    python -m nfsd.cli.worker DESCRIPTOR ARGUMENTS...       the supervisor's own command line

The rule: it ends when the supervisor says so, or at once when the supervisor is gone; signals are the supervisor's.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from nfsd.cli.options import ExportOption, Options, parse
from nfsd.cli.serve import ServeError, loop_factory, open_export, spare_the_collector
from nfsd.exports import ExportTable
from nfsd.handles import derived_export_key
from nfsd.server.channel import Channel
from nfsd.server.router import Ownership
from nfsd.server.worker import WorkerServer
from nfsd.vfs.descriptors import raise_descriptor_limit
from nfsd.vfs.ledger import Ledger


def dealt_out(exports: tuple[ExportOption, ...], workers: int) -> list[list[ExportOption]]:
    """Which worker owns which export: in turn, in the order of the command line, so the same after a restart."""
    return [list(exports[number::workers]) for number in range(workers)]


def ownership(exports: tuple[ExportOption, ...], workers: int, number: int, secret: bytes) -> Ownership:
    """What worker `number` has to know of the others."""
    shares = dealt_out(exports, workers)
    owner = {export.path: other for other, share in enumerate(shares) for export in share if other != number}
    return Ownership(
        keys={derived_export_key(secret, path): other for path, other in owner.items()},
        paths=owner,
        own_paths=frozenset(export.path for export in shares[number]),
        own_keys=frozenset(derived_export_key(secret, export.path) for export in shares[number]),
    )


class Worker:
    """From the supervisor's first message to its last."""

    def __init__(self, options: Options, end: socket.socket) -> None:
        self._options = options
        self._messages: asyncio.Queue[tuple[dict[str, Any], bytes, socket.socket | None] | None] = asyncio.Queue()
        self._channel = Channel(
            asyncio.get_running_loop(), end, lambda *message: self._messages.put_nowait(message), self._orphaned
        )
        self._ledgers: list[Ledger] = []

    def _orphaned(self) -> None:
        self._messages.put_nowait(None)

    async def run(self) -> None:
        first = await self._messages.get()
        if first is None:
            return
        message = first[0]
        secret = bytes.fromhex(message["secret"])
        directory = None if message["directory"] is None else Path(message["directory"])
        exports = ExportTable(secret)
        server = self._server(exports, message["number"], message["workers"], secret, directory, message["replies"])
        try:
            try:
                for export in dealt_out(self._options.exports, message["workers"])[message["number"]]:
                    meta = None if directory is None else directory / "meta"
                    exports.attach(await open_export(export, self._options, secret, meta, self._ledgers))
                await server.start()
            except ServeError as error:
                self._channel.send({"kind": "failed", "why": str(error)})
                return
            spare_the_collector()
            self._channel.send({"kind": "ready"})
            await self._serve(server)
        finally:
            await server.close(0)
            for attached in list(exports):
                exports.detach(attached.path)
                await attached.fs.close()
            for ledger in self._ledgers:
                await ledger.close()
            self._channel.close()

    def _server(
        self,
        exports: ExportTable,
        number: int,
        workers: int,
        secret: bytes,
        directory: Path | None,
        replies: str | None,
    ) -> WorkerServer:
        return WorkerServer(
            exports,
            ownership(self._options.exports, workers, number, secret),
            [other for other in range(workers) if other != number],
            closed=lambda connection: self._channel.send({"kind": "closed", "connection": connection}),
            moved=lambda connection, owner, connected, rest: self._channel.send(
                {"kind": "moved", "connection": connection, "owner": owner}, rest, connected
            ),
            replay_file=None if directory is None or replies is None else directory / f"{replies}.{number}",
        )

    async def _serve(self, server: WorkerServer) -> None:
        while (received := await self._messages.get()) is not None:
            message, payload, descriptor = received
            if descriptor is not None and message["kind"] == "connection":
                server.adopt(message["connection"], descriptor, message["host"], message["port"], payload)
            elif descriptor is not None and message["kind"] == "link to":
                server.link_to(message["worker"], descriptor)
            elif descriptor is not None and message["kind"] == "link from":
                server.link_from(message["worker"], descriptor)
            elif message["kind"] == "drain":
                await server.drain()
                self._channel.send({"kind": "drained"})
            elif message["kind"] == "end":
                return


async def _run(options: Options, end: socket.socket) -> None:
    raise_descriptor_limit()
    await Worker(options, end).run()


def main() -> int:
    """Entry point of a worker process."""
    # A terminal's Ctrl-C and a service manager's SIGTERM go to the whole group: the supervisor ends us in order.
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, signal.SIG_IGN)
    end = socket.socket(fileno=int(sys.argv[1]))
    end.setblocking(False)
    options = parse(sys.argv[2:])
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(name)s %(levelname)s %(message)s")
    with asyncio.Runner(loop_factory=loop_factory(options.loop, options.busy_poll_seconds)) as runner:
        runner.run(_run(options, end))
    return 0


if __name__ == "__main__":
    sys.exit(main())
