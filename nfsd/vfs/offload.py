"""The one place where blocking system calls leave the event loop: a bounded pool of threads.

A call given to the pool runs on a pinned descriptor and on values, never on Python state of the loop's thread.
More threads than cores, since they wait for disks; few, since the disks do not get faster by being asked by many.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from nfsd.vfs.failures import failure

T = TypeVar("T")

THREADS = 8
"""Enough that cold reads of several files overlap while a flush runs."""

PENDING_MAX = 1024
"""Calls in the pool and waiting for it. The front end's own bound on calls in flight is normally met first."""


class Pool:
    """Threads for blocking calls; started when first used. Belongs to one event loop."""

    def __init__(self, threads: int = THREADS, pending_max: int = PENDING_MAX) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="nfsd-offload")
        self._pending: set[asyncio.Future[object]] = set()
        self._pending_max = pending_max
        self._closed = False

    def run(self, call: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        """Start `call(*arguments)` in a thread. EAGAIN, nothing started, when too much is pending already.

        The future is the pool's: wrap it in a `Later`, do not cancel it.
        """
        if len(self._pending) >= self._pending_max:
            raise failure(errno.EAGAIN)
        return self.follow(call, *arguments)

    def follow(self, call: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        """As `run`, for what has to follow something already done (its flush): never refused because much is pending.
        One call in flight causes a few of these at most. EAGAIN when the pool is closed."""
        if self._closed:
            raise failure(errno.EAGAIN)
        future = asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)
        self._pending.add(future)  # type: ignore[arg-type]  # a set of futures of anything; only waited for
        future.add_done_callback(self._pending.discard)
        return future

    async def close(self) -> None:
        """Wait for what runs, then end the threads. Safe to call twice."""
        while self._pending:
            await asyncio.wait(self._pending)
        self._closed = True
        self._executor.shutdown(wait=True)
