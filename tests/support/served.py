"""A server in a thread of its own, for tests whose client blocks: real sockets, a real file system, nothing scripted.

It fails the test when a handler raised what it should not, and leaves neither threads nor descriptors behind.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from nfsd.exports import Export, ExportTable
from nfsd.server.server import NfsServer
from nfsd.vfs.interface import FileSystem
from nfsd.vfs.local import LocalFileSystem
from nfsd.vfs.stack import SquashTo, build_stack
from tests.support.peer import Peer

T = TypeVar("T")
SECRET = bytes(range(32))
UID, GID = 1000, 1000


def local(root: Path, durability: str = "host") -> FileSystem:
    """A directory with the squash layer, as most exports are."""
    return build_stack(LocalFileSystem(str(root), durability=durability), identity=SquashTo(UID, GID))


class Served:
    """Use as a context manager. `attach` before or while it runs; `peer()` connects."""

    def __init__(
        self, *, secret: bytes = SECRET, loop_factory: Callable[[], Any] | None = None, **options: Any
    ) -> None:
        options.setdefault("listen", [("127.0.0.1", 0)])
        self.exports = ExportTable(secret)
        self.server = NfsServer(self.exports, **options)
        self.handler_errors_expected = 0
        self._file_systems: list[FileSystem] = []
        self._peers: list[Peer] = []
        self._factory = loop_factory
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._stop: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="served")

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        for peer in self._peers:
            peer.close()
        assert self._loop is not None and self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        assert self.server.stats.handler_errors == self.handler_errors_expected

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._factory) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await self.server.start()
        self._started.set()
        await self._stop.wait()
        await self.server.close()
        for fs in self._file_systems:
            await fs.close()

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine function on the server's loop."""
        assert self._loop is not None

        async def call() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(timeout=20)

    def do(self, work: Callable[[], T]) -> T:
        """Run a function on the server's loop."""

        async def call() -> T:
            return work()

        return self.run(call)

    def attach(
        self, make: Callable[[], FileSystem], path: bytes = b"/t/v", key: bytes = b"export-1", fsid: int = 7
    ) -> Export:
        """Make a file system on the server's loop and export it."""

        def attach() -> Export:
            fs = make()
            self._file_systems.append(fs)
            export = Export(path, key, fs, fsid)
            self.exports.attach(export)
            return export

        return self.do(attach)

    @property
    def address(self) -> tuple[str, int]:
        return self.server.addresses[0]

    def peer(self, **how: Any) -> Peer:
        peer = Peer(self.address, **how)
        self._peers.append(peer)
        return peer
