"""Following events: nothing missed, nothing twice, and an end."""

from __future__ import annotations

import asyncio

import pytest

from aegis.domain.execution import ExecutionEvent, ExecutionState
from aegis.errors import NotFound, Overloaded
from aegis.services import recorder
from aegis.services.recorder import EventRecorder
from tests.support import samples
from tests.support.clock import settle
from tests.support.memory_store import MemoryStore
from tests.support.samples import NOON


async def started() -> tuple[MemoryStore, EventRecorder, str]:
    store = MemoryStore()
    execution = samples.execution()
    await store.add_execution(execution, [samples.event("execution.created", execution.id)])
    return store, EventRecorder(store), execution.id


async def end(store: MemoryStore, events: EventRecorder, execution_id: str) -> None:
    execution = await store.get_execution(execution_id)
    ended = execution.after(ExecutionEvent.CANCEL, NOON)
    await store.update_execution(
        ended, expect=ExecutionState.PENDING, events=[samples.event("execution.cancelled", execution_id)]
    )
    events.wake(execution_id)


async def collect(events: EventRecorder, execution_id: str, after: int = 0) -> list[int]:
    return [event.sequence async for event in events.follow(execution_id, after=after)]


async def test_a_follower_gets_what_was_and_what_comes_and_ends_with_the_execution() -> None:
    store, events, execution_id = await started()
    following = asyncio.create_task(collect(events, execution_id))
    await settle()
    for n in range(450):
        await events.emit(samples.event("tool.called", execution_id, n=n))
    await end(store, events, execution_id)
    assert await following == list(range(1, 453))


async def test_a_slow_follower_misses_nothing_and_repeats_nothing() -> None:
    store, events, execution_id = await started()
    seen = []

    async def slowly() -> None:
        async for event in events.follow(execution_id):
            seen.append(event.sequence)
            await settle(7)

    following = asyncio.create_task(slowly())
    for n in range(50):
        await events.emit(samples.event("tool.called", execution_id, n=n))
        await settle(3)
    await end(store, events, execution_id)
    await following
    assert seen == list(range(1, 53))


async def test_a_follower_goes_on_where_it_stopped_also_after_the_end() -> None:
    store, events, execution_id = await started()
    await events.emit(samples.event("tool.called", execution_id))
    await end(store, events, execution_id)
    assert await collect(events, execution_id, after=1) == [2, 3]
    assert await collect(events, execution_id, after=3) == []


async def test_a_follower_with_nothing_new_asks_the_store_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store, events, execution_id = await started()
    following = asyncio.create_task(collect(events, execution_id))
    await events.emit(samples.event("tool.called", execution_id))
    await settle()
    asked = []
    monkeypatch.setattr(store, "get_execution", lambda *_: asked.append(True))
    monkeypatch.setattr(store, "list_events", lambda *_, **__: asked.append(True))
    await settle()
    assert not following.done()
    assert asked == []
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_followers_of_other_executions_are_not_woken() -> None:
    store, events, execution_id = await started()
    other = samples.execution()
    await store.add_execution(other)
    following = asyncio.create_task(collect(events, other.id))
    await settle()
    await end(store, events, execution_id)
    assert not following.done()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert events._followers == {}


async def test_closing_ends_every_follower() -> None:
    _, events, execution_id = await started()
    following = [asyncio.create_task(collect(events, each)) for each in (execution_id, "")]
    await settle()
    events.close()
    assert await asyncio.gather(*following) == [[1], []]


async def test_an_unknown_execution_and_too_many_followers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _, events, execution_id = await started()
    with pytest.raises(NotFound):
        await collect(events, "no-such")
    monkeypatch.setattr(recorder, "FOLLOWERS_MAX", 1)
    following = asyncio.create_task(collect(events, execution_id))
    await settle()
    with pytest.raises(Overloaded):
        await collect(events, execution_id)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    events.close()
    assert await collect(events, execution_id) == [1]
