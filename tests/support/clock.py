"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta


class FakeClock:
    """`advance` wakes the sleepers whose time has come, in the order of their times; each runs before the next."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self._monotonic = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (self._monotonic + seconds, future)
        self._sleepers.append(entry)
        try:
            await future
        finally:
            if entry in self._sleepers:
                self._sleepers.remove(entry)

    @property
    def sleeping(self) -> int:
        return len(self._sleepers)

    @property
    def longest(self) -> float:
        """Seconds the most patient sleeper still waits."""
        return max((at - self._monotonic for at, _ in self._sleepers), default=0.0)

    async def advance(self, seconds: float) -> None:
        end = self._monotonic + seconds
        while due := [entry for entry in self._sleepers if entry[0] <= end]:
            at, future = min(due, key=lambda entry: entry[0])
            self._step_to(at)
            self._sleepers.remove((at, future))
            if not future.done():
                future.set_result(None)
            await settle()
        self._step_to(end)
        await settle()

    def _step_to(self, monotonic: float) -> None:
        self._now += timedelta(seconds=max(0.0, monotonic - self._monotonic))
        self._monotonic = max(monotonic, self._monotonic)


async def settle(turns: int = 50) -> None:
    """Let everything run that can run without time passing (in memory; threads and sockets are not waited for)."""
    for _ in range(turns):
        await asyncio.sleep(0)
