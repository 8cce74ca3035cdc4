"""The one place where blocking system calls leave the event loop: a bounded pool of threads.

A call given to the pool runs on a pinned descriptor and on values, never on Python state of the loop's thread.
More threads than cores, since they wait for disks; few, since the disks do not get faster by being asked by many: all
volumes of a process share them. How much may be pending is each volume's own.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from nfsd.vfs.failures import failure

T = TypeVar("T")

THREADS = 8
"""Of the process. Enough that cold reads of several files overlap while a flush runs."""

PENDING_MAX = 1024
"""Calls in the pool and waiting for it. The front end's own bound on calls in flight is normally met first."""


class Threads:
    """The process's threads: there from the first pool's first call until the last pool is closed."""

    def __init__(self, count: int, name: str) -> None:
        self._count, self._name = count, name
        self._lock = threading.Lock()  # pools of several event loops
        self._executor: ThreadPoolExecutor | None = None
        self._users = 0

    def join(self) -> ThreadPoolExecutor:
        """One `leave` is owed for it."""
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._count, thread_name_prefix=self._name)
            self._users += 1
            return self._executor

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            executor = None if self._users else self._executor
            if executor is not None:
                self._executor = None
        if executor is not None:
            executor.shutdown(wait=True)


FOREGROUND = Threads(THREADS, "nfsd-offload")
BACKGROUND = Threads(1, "nfsd-background")
"""For what nobody waits for (counting volumes), in small steps: the volumes of a process take turns, and the threads
that calls wait for are left alone."""


class Pool:
    """Blocking calls of one volume. Belongs to one event loop."""

    def __init__(self, pending_max: int = PENDING_MAX, threads: Threads = FOREGROUND) -> None:
        self._threads = threads
        self._executor: ThreadPoolExecutor | None = None
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
        loop = asyncio.get_running_loop()
        if self._executor is None:
            self._executor = self._threads.join()
        future = loop.run_in_executor(self._executor, call, *arguments)
        self._pending.add(future)  # type: ignore[arg-type]  # a set of futures of anything; only waited for
        future.add_done_callback(self._pending.discard)
        return future

    async def close(self) -> None:
        """Wait for what runs; the last pool to be closed ends the threads. Safe to call twice."""
        while self._pending:
            await asyncio.wait(self._pending)
        self._closed = True
        if self._executor is not None:
            self._executor = None
            self._threads.leave()
