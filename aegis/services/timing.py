"""Time for services: the system's clock, deadlines, work that must not be broken off, and bounded repetition.

All of it goes through the `Clock` port, so tests own time. The rule to know: `within` cancels what it started and waits
until that has cleaned up; `finished` cannot be cancelled, it only remembers that somebody tried.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from aegis.errors import WorldError
from aegis.ports import Clock

logger = logging.getLogger(__name__)
T = TypeVar("T")


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def within(clock: Clock, seconds: float, work: Coroutine[Any, Any, T], name: str) -> T:
    """The result of `work`, or TimeoutError after `seconds`; in any case nothing of it runs any more on return."""
    task = asyncio.create_task(work, name=name)
    timer = asyncio.create_task(clock.sleep(seconds), name=f"{name} deadline")
    try:
        await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError(f"{name}: not done within {seconds:g} s")
        return task.result()
    finally:
        await _ended(task, timer)


async def _ended(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def finished(work: Coroutine[Any, Any, T] | asyncio.Task[T], name: str) -> T:
    """The result of `work`, which runs to its end whatever happens to the caller; a cancellation is raised after it.

    For the two halves of every change outside: what was begun must be known to be done, and what was made be removed.
    `work` has to bound its own time."""
    task = work if isinstance(work, asyncio.Task) else asyncio.create_task(work, name=name)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled() and task.exception() is not None:
            logger.warning("%s failed while it was being cancelled: %s", name, task.exception())
        raise cancelled
    return task.result()


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how patiently: `attempts_max` tries, pauses doubling from `pause_seconds` to `pause_max_seconds`,
    each between half and the whole of that (so that many that failed together do not come back together)."""

    attempts_max: int = 4
    pause_seconds: float = 1.0
    pause_max_seconds: float = 30.0
    retry_after_seconds_max: float = 30.0  # who wants more patience than this has failed for good

    def pause(self, failures: int, at_least: float = 0.0) -> float:
        """`at_least` is what the other side asked for: never come back before, nor all at the same moment."""
        longest: float = min(self.pause_seconds * 2.0 ** (failures - 1), self.pause_max_seconds)
        own = longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
        return max(own, at_least * random.uniform(1.0, 1.1))  # noqa: S311


async def retried(
    clock: Clock,
    retries: Retries,
    operation: Callable[[], Awaitable[T]],
    *,
    before_pause: Callable[[WorldError, float], Awaitable[None]] | None = None,
) -> T:
    """Repeat while the world fails in a way that may pass; the last failure is raised. Everything else is raised at
    once. `before_pause` is told each failure and the pause that follows it."""
    failures = 0
    while True:
        try:
            return await operation()
        except WorldError as error:
            failures += 1
            asked = error.retry_after_seconds or 0.0
            if not error.retryable or failures >= retries.attempts_max or asked > retries.retry_after_seconds_max:
                raise
            pause = retries.pause(failures, asked)
            if before_pause is not None:
                await before_pause(error, pause)
        await clock.sleep(pause)
