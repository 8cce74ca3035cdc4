"""Events from where nothing may wait (the gateway's audit, in the middle of a READ) to the store, in batches.

`put` takes them at once; a task stores them. None is lost while the database is away: they wait here, up to a bound,
and past it `put` raises, so that the gateway refuses new work instead of doing it unrecorded.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from aegis.domain.events import Event
from aegis.errors import AegisError, WorldError
from aegis.ports import EventSink

log = logging.getLogger(__name__)

WAITING_MAX = 100_000
"""Events; about 100 MB of them. A busy workspace makes some hundred a second."""

BATCH_MAX = 500
RETRY_SECONDS = 2.0


class EventPump:
    """`run` is the task; `close` stores what waits and ends it."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self._waiting: deque[Event] = deque()
        self._some = asyncio.Event()
        self._closing = False

    def put(self, events: Sequence[Event]) -> None:
        """Take these; WorldError when too many wait already."""
        if len(self._waiting) + len(events) > WAITING_MAX:
            raise WorldError(f"{len(self._waiting)} file events wait for the database; no more are taken")
        self._waiting.extend(events)
        self._some.set()

    async def run(self) -> None:
        """Until `close`: store what comes. A failing store is tried again, with what it refused first in line."""
        while True:
            await self._some.wait()
            if not self._waiting:
                if self._closing:
                    return
                self._some.clear()
                continue
            batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
            try:
                await self._sink.emit(*batch)
            except AegisError as error:
                self._waiting.extendleft(reversed(batch))
                log.warning("%d file events wait to be stored: %s", len(self._waiting), error)
                if self._closing:
                    return
                await asyncio.sleep(RETRY_SECONDS)

    def close(self) -> None:
        """`run` returns once what waits is stored, or could not be."""
        self._closing = True
        self._some.set()
