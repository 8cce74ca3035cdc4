"""How often an execution's tools have been allowed, for the rate limits of its security contexts.

The rule to know: what counts is what was allowed, and the event log has it. So an iteration that begins, also after a
restart of the daemon, reads there what the execution has used up already, once, and only when a limit is asked for.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from aegis.domain.contexts import CALLS_MAX, RateLimit
from aegis.domain.events import Event
from aegis.ports import Clock

WINDOW_SECONDS: Final = 60.0
PAGE: Final = 1000
ALLOWED: Final = "tool.allowed"

Past = Callable[[], AsyncIterator[tuple[str, datetime]]]
"""Every rule that allowed a call of the execution, and when."""


class EventLog(Protocol):
    async def list_events(self, execution_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]: ...


async def allowed_calls(store: EventLog, execution_id: str) -> AsyncIterator[tuple[str, datetime]]:
    """As the event log has them, oldest first."""
    after = 0
    while batch := await store.list_events(execution_id, after=after, limit=PAGE):
        for event in batch:
            after = event.sequence
            if event.kind == ALLOWED:
                for rule in event.data.get("rules", ()):
                    yield str(rule), event.at


async def _no_past() -> AsyncIterator[tuple[str, datetime]]:
    nothing: tuple[tuple[str, datetime], ...] = ()
    for each in nothing:
        yield each


@dataclass(slots=True)
class _Calls:
    count: int = 0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=CALLS_MAX))  # monotonic times


class RateLimits:
    """Of one execution. `load` before the first question; asking and counting do not wait, so a caller that asks about
    several rules and then counts them is not overtaken."""

    def __init__(self, past: Past = _no_past) -> None:
        self._past = past
        self._calls: dict[str, _Calls] = {}
        self._loaded = False
        self._lock = asyncio.Lock()

    async def load(self, clock: Clock) -> None:
        """DatabaseUnavailable; then nothing is loaded, and the next call tries again."""
        async with self._lock:
            if self._loaded:
                return
            found: dict[str, _Calls] = {}
            now, monotonic = clock.now(), clock.monotonic()
            async for rule, at in self._past():
                calls = found.setdefault(rule, _Calls())
                calls.count += 1
                calls.recent.append(monotonic - max((now - at).total_seconds(), 0.0))
            self._calls, self._loaded = found, True

    def refusal(self, tool: str, rule: str, limit: RateLimit, now: float) -> str:
        """Why the rule allows no further call at this (monotonic) time; "" when it does."""
        calls = self._calls.get(rule)
        if calls is None:
            return ""
        most = limit.calls_per_execution
        if most is not None and calls.count >= most:
            return f"{tool} may be called {_times(most)} in an execution, and has been"
        most = limit.calls_per_minute
        while calls.recent and calls.recent[0] <= now - WINDOW_SECONDS:
            calls.recent.popleft()
        if most is not None and len(calls.recent) >= most:
            wait = calls.recent[len(calls.recent) - most] + WINDOW_SECONDS - now
            return f"{tool} may be called {_times(most)} a minute; call it again in {math.ceil(wait)} s"
        return ""

    def count(self, rules: Sequence[str], now: float) -> None:
        for rule in rules:
            calls = self._calls.setdefault(rule, _Calls())
            calls.count += 1
            calls.recent.append(now)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
