"""Group commit: flushes shared by all who wait for the same file or directory.

Who comes while a flush runs joins the next one, never the running one: his data may have missed it. So any number of
callers costs two flushes, and nobody waits for more than two. A flush that fails is told to everybody waiting,
the next round included: after a failed writeback Linux marks the pages clean, so a second fsync would succeed without
the data being there (the "fsyncgate" of 2018). The owner of the flusher then changes its write verifier.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from nfsd.vfs.interface import Later

if TYPE_CHECKING:
    from nfsd.vfs.descriptors import Descriptors
    from nfsd.vfs.nodes import LocalNode
    from nfsd.vfs.offload import Pool


def _flush(fd: int, metadata: bool) -> None:
    try:
        (os.fsync if metadata else os.fdatasync)(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS):  # a file system that cannot flush directories
            raise


class _Rounds:
    """The flush that runs for one node, and who waits for the next."""

    __slots__ = ("metadata", "next", "running")

    def __init__(self, running: asyncio.Future[None]) -> None:
        self.running = running
        self.next: asyncio.Future[None] | None = None
        self.metadata = False


class Flusher:
    """At most one flush a node at a time. Bounded by the calls in flight, of which each waits for one round."""

    def __init__(self, pool: Pool, descriptors: Descriptors, lost: Callable[[], None]) -> None:
        self._pool = pool
        self._descriptors = descriptors
        self._lost = lost
        self._rounds: dict[LocalNode, _Rounds] = {}

    def flush(self, node: LocalNode, fd: int, *, metadata: bool) -> Later[None]:
        """Everything done to the node so far is durable when this is done. `fd` is the node's open descriptor;
        `metadata` False may leave times behind (fdatasync). EIO and others: data may be lost."""
        rounds = self._rounds.get(node)
        if rounds is None:
            return Later(self._start(node, fd, metadata).running)
        if rounds.next is None:
            rounds.next = asyncio.get_running_loop().create_future()
        rounds.metadata |= metadata
        return Later(rounds.next)

    def _start(self, node: LocalNode, fd: int, metadata: bool) -> _Rounds:
        work = self._pool.follow(_flush, fd, metadata)
        rounds = self._rounds[node] = _Rounds(asyncio.get_running_loop().create_future())
        self._descriptors.pin(node, fd)  # after all that can fail
        work.add_done_callback(lambda done: self._ended(node, fd, rounds, done))
        return rounds

    def _ended(self, node: LocalNode, fd: int, rounds: _Rounds, done: asyncio.Future[None]) -> None:
        del self._rounds[node]
        error = done.exception()
        if error is not None:
            self._lost()
            for waiting in (rounds.running, rounds.next):
                if waiting is not None:
                    waiting.set_exception(error)
                    waiting.exception()  # nobody may be waiting any more: not a lost error
        else:
            rounds.running.set_result(None)
            if rounds.next is not None:
                self._continue(node, fd, rounds)
        self._descriptors.unpin(node, fd)

    def _continue(self, node: LocalNode, fd: int, rounds: _Rounds) -> None:
        """The next round, on this one's descriptor, which is pinned still. The node may have another by now (a WRITE
        opens the file anew): a flush is of the file, whichever descriptor it is asked on."""
        assert rounds.next is not None
        if node.gone:  # its data is nobody's any more
            rounds.next.set_result(None)
            return
        try:
            self._start(node, fd, rounds.metadata).running = rounds.next
        except OSError as error:  # the pool is closed
            rounds.next.set_exception(error)
            rounds.next.exception()
