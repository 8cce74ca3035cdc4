"""What happened: stored, then shown to whoever follows.

The rule to know: followers have no queues. A new event only wakes them, and each reads on in the store from the last
event it gave out. So a slow follower costs a wake-up and no memory, misses nothing, and events that were stored
together with a record (`Store.update_*`) are seen the same way as those that came through `emit`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Final

from aegis.domain.events import Event
from aegis.domain.execution import FINAL_STATES
from aegis.errors import Overloaded
from aegis.ports import Clock, EventSink, Store

FOLLOWERS_MAX: Final = 1000
PAGE: Final = 200


class EventRecorder:
    """The `EventSink` of the daemon. `close()` ends every follower after what is stored by then."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._followers: dict[str, set[asyncio.Event]] = {}
        self._count = 0
        self._closed = False

    async def emit(self, *events: Event) -> None:
        await self._store.append_events(events)
        for execution_id in {event.execution_id or "" for event in events}:
            self.wake(execution_id)

    def wake(self, execution_id: str) -> None:
        for follower in self._followers.get(execution_id, ()):
            follower.set()

    async def follow(self, execution_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """NotFound for an unknown execution; Overloaded when more than 1,000 follow already."""
        woken = self._enter(execution_id)
        try:
            while True:
                woken.clear()
                ended = self._closed or await self._is_over(execution_id)  # before reading: then nothing comes after
                while batch := await self._store.list_events(execution_id, after=after, limit=PAGE):
                    for event in batch:
                        after = event.sequence
                        yield event
                if ended:
                    return
                await woken.wait()
        finally:
            self._leave(execution_id, woken)

    def close(self) -> None:
        self._closed = True
        for execution_id in list(self._followers):
            self.wake(execution_id)

    async def _is_over(self, execution_id: str) -> bool:
        return bool(execution_id) and (await self._store.get_execution(execution_id)).state in FINAL_STATES

    def _enter(self, execution_id: str) -> asyncio.Event:
        if self._count >= FOLLOWERS_MAX:
            raise Overloaded(f"{self._count} followers of events are connected already, at most {FOLLOWERS_MAX} can be")
        self._count += 1
        woken = asyncio.Event()
        self._followers.setdefault(execution_id, set()).add(woken)
        return woken

    def _leave(self, execution_id: str, woken: asyncio.Event) -> None:
        self._count -= 1
        followers = self._followers[execution_id]
        followers.discard(woken)
        if not followers:
            del self._followers[execution_id]


@dataclass(frozen=True, slots=True)
class Journal:
    """Makes the events of one execution (and iteration), with the clock's time."""

    sink: EventSink
    clock: Clock
    execution_id: str
    iteration: int | None = None

    def of(self, iteration: int) -> Journal:
        return replace(self, iteration=iteration)

    def event(self, kind: str, **data: Any) -> Event:
        return Event(kind, self.clock.now(), self.execution_id, self.iteration, data)

    async def tell(self, kind: str, **data: Any) -> None:
        await self.sink.emit(self.event(kind, **data))

    def wake(self) -> None:
        self.sink.wake(self.execution_id)
