"""Events from where nothing may wait (the gateway's audit, in the middle of a READ) to the store, in batches.

`put` takes them at once; a task stores them. None is lost while the database is away: they wait here, up to a bound,
and past it `put` raises, so that the gateway refuses new work instead of doing it unrecorded.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from itertools import islice

from aegis.domain.events import Event
from aegis.errors import AegisError, WorldError
from aegis.ports import EventSink

log = logging.getLogger(__name__)

WAITING_MAX = 100_000
"""Events; about 100 MB of them. A busy workspace makes some hundred a second."""

BATCH_MAX = 500
RETRY_SECONDS = 2.0
DRAIN_SECONDS = 10.0


class EventPump:
    """`run` is the task; `close` stores what waits and ends it."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self._waiting: deque[Event] = deque()
        self._some = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._closing = False

    def put(self, events: Sequence[Event]) -> None:
        """Take these; WorldError when too many wait already."""
        if len(self._waiting) + len(events) > WAITING_MAX:
            raise WorldError(f"{len(self._waiting)} file events wait for the database; no more are taken")
        self._waiting.extend(events)
        if self._waiting:
            self._empty.clear()
            self._some.set()

    async def drained(self) -> None:
        """Returns when all that was put is stored, or after `DRAIN_SECONDS`: what waits then is stored later."""
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._empty.wait()
        except TimeoutError:
            log.warning("%d file events are stored later than the end of what they tell of", len(self._waiting))

    async def run(self) -> None:
        """Until `close`: store what comes, in order. A store that is away is tried again with the same batch; what it
        refuses for good is logged and left out, and with it nothing else."""
        while True:
            await self._some.wait()
            one_by_one = 0
            while self._waiting:
                batch = list(islice(self._waiting, 1 if one_by_one else BATCH_MAX))
                try:
                    await self._sink.emit(*batch)
                except WorldError as error:
                    log.warning("%d file events wait to be stored: %s", len(self._waiting), error)
                    if self._closing:
                        return
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                except AegisError as error:
                    if len(batch) > 1:
                        one_by_one = len(batch)
                        continue
                    log.error("a file event cannot be stored: %s: %s", error, batch[0])
                for _ in batch:
                    self._waiting.popleft()
                one_by_one = max(0, one_by_one - len(batch))
            self._empty.set()
            self._some.clear()
            if self._closing:
                return

    def close(self) -> None:
        """`run` returns once what waits is stored, or could not be."""
        self._closing = True
        self._some.set()
