"""Events on their way from the gateway to the store: in order, none lost, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from aegis.domain.events import Event
from aegis.errors import DatabaseUnavailable, NotFound, WorldError
from aegis.services import pump as module
from aegis.services.pump import EventPump


def event(number: int, execution_id: str = "known") -> Event:
    return Event(kind="file.write", at=datetime(2026, 1, 1, tzinfo=UTC), execution_id=execution_id, data={"n": number})


class Sink:
    """A store that can be away, and that knows one execution only."""

    def __init__(self) -> None:
        self.stored: list[Event] = []
        self.away = False
        self.tried = asyncio.Event()

    async def emit(self, *events: Event) -> None:
        await asyncio.sleep(0)
        self.tried.set()
        if self.away:
            raise DatabaseUnavailable("the database is away")
        if any(each.execution_id != "known" for each in events):
            raise NotFound("no such execution")
        self.stored.extend(events)

    def wake(self, execution_id: str) -> None:
        raise AssertionError("not the pump's to do")

    def follow(self, execution_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        raise AssertionError("not the pump's to do")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)


async def test_everything_put_is_stored_in_order_in_batches() -> None:
    sink = Sink()
    pump = EventPump(sink)
    task = asyncio.create_task(pump.run())
    events = [event(number) for number in range(3 * module.BATCH_MAX + 7)]
    pump.put(events[:10])
    pump.put(events[10:])
    await pump.drained()
    assert sink.stored == events
    pump.put([event(-1)])
    pump.close()
    await task
    assert sink.stored[-1] == event(-1)


async def test_a_database_that_is_away_loses_nothing(quick: None) -> None:
    sink = Sink()
    sink.away = True
    pump = EventPump(sink)
    task = asyncio.create_task(pump.run())
    pump.put([event(1), event(2)])
    await sink.tried.wait()
    pump.put([event(3)])
    sink.away = False
    await pump.drained()
    assert sink.stored == [event(1), event(2), event(3)]
    pump.close()
    await task


async def test_an_event_the_store_refuses_for_good_holds_up_no_other() -> None:
    sink = Sink()
    pump = EventPump(sink)
    task = asyncio.create_task(pump.run())
    pump.put([event(1), event(2, "unknown"), event(3)])
    await pump.drained()
    assert sink.stored == [event(1), event(3)]
    pump.close()
    await task


async def test_past_the_bound_put_refuses_and_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 3)
    sink = Sink()
    pump = EventPump(sink)
    pump.put([event(1), event(2)])
    with pytest.raises(WorldError, match="2 file events wait"):
        pump.put([event(3), event(4)])
    pump.close()
    await pump.run()
    assert sink.stored == [event(1), event(2)]


async def test_closing_with_the_database_away_ends_nevertheless(quick: None) -> None:
    sink = Sink()
    sink.away = True
    pump = EventPump(sink)
    pump.put([event(1)])
    pump.close()
    await asyncio.wait_for(pump.run(), 10)
    assert sink.stored == []
