"""Events: appended, never changed.

The rule to know: a stream's numbers are taken from its row in `event_streams` by an UPDATE that holds the row's lock
until the transaction ends. So numbers become visible in their order, without gaps that are filled later, and a reader
that goes on after the last number it saw misses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from aegis.adapters.store import tables
from aegis.adapters.store.rows import event_of, event_values
from aegis.domain.events import Event
from aegis.errors import NotFound

NO_EXECUTION = ""


async def open_stream(connection: AsyncConnection, execution_id: str) -> None:
    await connection.execute(insert(tables.event_streams).values(execution_id=execution_id, last_sequence=0))


async def append(connection: AsyncConnection, events: Sequence[Event]) -> None:
    """NotFound when an execution does not exist. Streams are locked in the order of their ids: no deadlock."""
    by_stream: dict[str, list[Event]] = {}
    for event in events:
        by_stream.setdefault(event.execution_id or NO_EXECUTION, []).append(event)
    for stream in sorted(by_stream):
        batch = by_stream[stream]
        last = await _take_numbers(connection, stream, len(batch))
        first = last - len(batch) + 1
        rows = [event_values(event, first + index) for index, event in enumerate(batch)]
        await connection.execute(insert(tables.events), rows)


async def _take_numbers(connection: AsyncConnection, stream: str, count: int) -> int:
    streams = tables.event_streams
    taken = await connection.execute(
        update(streams)
        .where(streams.c.execution_id == stream)
        .values(last_sequence=streams.c.last_sequence + count)
        .returning(streams.c.last_sequence)
    )
    last = taken.scalar_one_or_none()
    if last is None:
        raise NotFound(f"There is no execution {stream}")
    return int(last)


async def events_after(connection: AsyncConnection, execution_id: str, sequence: int, limit: int) -> list[Event]:
    events = tables.events
    rows = await connection.execute(
        select(events)
        .where(events.c.execution_id == execution_id, events.c.sequence > sequence)
        .order_by(events.c.sequence)
        .limit(limit)
    )
    return [event_of(row) for row in rows]
