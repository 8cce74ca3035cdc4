"""Deadlines, work that is not broken off, and repetition."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from aegis.errors import ImageNotFound, MountFailed, WorldError
from aegis.services.timing import Retries, finished, retried, within
from tests.support.clock import FakeClock, settle


async def test_within_gives_the_result_and_leaves_no_task() -> None:
    clock = FakeClock()

    async def work() -> int:
        return 42

    before = asyncio.all_tasks()
    assert await within(clock, 10, work(), "work") == 42
    assert asyncio.all_tasks() == before
    assert clock.sleeping == 0


async def test_within_waits_for_what_it_cancelled_to_clear_up() -> None:
    clock, cleared = FakeClock(), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await settle(5)
            cleared.append(True)

    waiting = asyncio.create_task(within(clock, 10, work(), "work"))
    await settle()
    await clock.advance(10)
    with pytest.raises(TimeoutError, match="work: not done within 10 s"):
        await waiting
    assert cleared == [True]


async def test_finished_runs_to_its_end_however_often_it_is_cancelled() -> None:
    gate, done = asyncio.Event(), []

    async def work() -> None:
        await gate.wait()
        done.append(True)

    caller = asyncio.create_task(finished(work(), "work"))
    for _ in range(3):
        await settle(3)
        caller.cancel()
    await settle()
    assert not caller.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert done == [True]


async def test_retried_pauses_ever_longer_and_gives_up_with_the_last_failure() -> None:
    clock, began = FakeClock(), []

    async def fails() -> None:
        began.append(clock.monotonic())
        raise MountFailed(f"number {len(began)}")

    trying = asyncio.create_task(retried(clock, Retries(5, 1.0, 4.0), fails))
    await settle()
    for _ in range(200):
        await clock.advance(0.1)
    with pytest.raises(MountFailed, match="number 5"):
        await trying
    pauses = [later - earlier for earlier, later in pairwise(began)]
    for pause, longest in zip(pauses, [1, 2, 4, 4], strict=True):
        assert longest / 2 - 0.01 <= pause <= longest + 0.11


async def test_retried_does_not_repeat_what_cannot_pass_nor_our_own_mistakes() -> None:
    for error in (ImageNotFound("gone"), ValueError("ours")):
        calls = []

        async def fails(error: Exception = error, calls: list[int] = calls) -> None:
            calls.append(1)
            raise error

        with pytest.raises(type(error)):
            await retried(FakeClock(), Retries(), fails)
        assert calls == [1]


async def test_retried_tells_each_failure_and_returns_the_first_success() -> None:
    clock, told, failures = FakeClock(), [], [MountFailed("one"), MountFailed("two")]

    async def work() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    async def tell(error: WorldError, pause: float) -> None:
        told.append(error.message)

    trying = asyncio.create_task(retried(clock, Retries(), work, before_pause=tell))
    await settle()
    await clock.advance(60)
    assert await trying == "done"
    assert told == ["one", "two"]
