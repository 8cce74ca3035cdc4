"""The selector under the event loop: the same answers as the standard library's, and when it looks again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfsd.server import selector as module
from nfsd.server.selector import BusyPollSelector, polling_loop_factory
from nfsd.server.turns import TURN_UNIT_NS, turns_of

MICROSECOND = 1000


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["read", "write", "both", "forget", "send", "drain", "hang up"]),
                          st.integers(0, 3)), max_size=30))  # fmt: skip
def test_it_answers_as_the_standard_selector(steps: list[tuple[str, int]]) -> None:
    masks = {"read": 1, "write": 2, "both": 3}
    pairs = [socket.socketpair() for _ in range(4)]
    with contextlib.ExitStack() as stack:
        ours, theirs = stack.enter_context(BusyPollSelector()), stack.enter_context(selectors.EpollSelector())
        for pair in pairs:
            for end in pair:
                stack.callback(end.close)
        for ours_or_theirs, peer in pairs:
            ours_or_theirs.setblocking(False)
            peer.setblocking(False)
        for what, index in steps:
            watched, peer = pairs[index]
            if what in masks:
                for each in (ours, theirs):
                    if watched in each.get_map():
                        each.modify(watched, masks[what], index)
                    else:
                        each.register(watched, masks[what], index)
            elif what == "forget" and watched in ours.get_map():
                assert ours.unregister(watched) == theirs.unregister(watched)
            elif what == "send" and peer.fileno() >= 0:
                peer.send(b"x")
            elif what == "hang up":
                peer.close()
            elif what == "drain":
                with contextlib.suppress(BlockingIOError):
                    watched.recv(100)
            assert set(ours.select(0)) == set(theirs.select(0))


class World:
    """A clock that moves when something is done, and an epoll whose events come at set times."""

    def __init__(self) -> None:
        self.now = 0
        self.next_at = 0
        self.asleep = 0
        """How often the selector slept."""
        self.looks = 0
        self.yield_ns = 100

    def clock(self) -> int:
        self.now += 10
        return self.now

    def sched_yield(self) -> None:
        self.now += self.yield_ns

    def poll(self, timeout: float, _events_max: int) -> list[tuple[int, int]]:
        if timeout == 0:
            self.looks += 1
            self.now += 500
            return [(99, 1)] if self.now >= self.next_at else []
        self.asleep += 1
        self.now = max(self.now, self.next_at)
        return [(99, 1)]

    def close(self) -> None:
        pass


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(module, "perf_counter_ns", world.clock)
    monkeypatch.setattr(os, "sched_yield", world.sched_yield)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    return world


def waits(world: World, *waits_us: int, selector: BusyPollSelector | None = None) -> list[bool]:
    """For each wait, how long after its beginning the event comes: whether the selector slept in it."""
    if selector is None:
        selector = BusyPollSelector(200e-6)
    real, selector._epoll = selector._epoll, world  # type: ignore[assignment]
    slept = []
    for wait in waits_us:
        world.next_at = world.now + wait * MICROSECOND
        before = world.asleep
        selector.select(None)
        slept.append(world.asleep > before)
    selector._epoll = real
    selector.close()
    return slept


def test_it_sleeps_at_first_and_looks_again_when_events_come_quickly(world: World) -> None:
    assert waits(world, 90, 90, 90, 90, 90, 90) == [True, True, False, False, False, False]


def test_an_idle_server_looks_in_vain_once(world: World) -> None:
    slept = waits(world, 90, 90, 90, 90, 50_000)
    assert slept[-2:] == [False, True]
    looks = world.looks
    slept = waits(world, 60_000, 60_000, 60_000)
    assert slept == [True, True, True]
    assert world.looks == looks


def test_who_needs_the_processor_gets_it(world: World) -> None:
    """After a yield that took long nothing is polled for 20 ms, however quickly events come."""
    selector = BusyPollSelector(200e-6)
    world.yield_ns = 3_000 * MICROSECOND
    waits_us = (90, 90, 90, 90, 90, 90, 90, 90)
    slept = waits(world, *waits_us, selector=selector)
    assert all(slept)
    assert world.looks == 1


def test_with_one_processor_it_never_polls(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    assert all(waits(world, 90, 90, 90, 90, 90))
    assert world.looks == 0


def test_it_can_be_told_not_to(world: World) -> None:
    assert all(waits(world, 90, 90, 90, 90, 90, selector=BusyPollSelector(0)))
    assert world.looks == 0


def test_every_turn_is_counted_and_the_longest_known(world: World) -> None:
    selector = BusyPollSelector(200e-6)
    real, selector._epoll = selector._epoll, world  # type: ignore[assignment]
    for busy_us in (3, 40, 7_000, 2):
        selector.select(0)
        world.now += busy_us * MICROSECOND
    selector.select(0)
    assert sum(selector.turns.counts) == 4
    assert 7_000 <= selector.turns.longest_ns / MICROSECOND < 7_001
    assert selector.turns.counts[(7_000 * MICROSECOND // TURN_UNIT_NS).bit_length()] == 1
    selector._epoll = real
    selector.close()


def test_the_turns_of_a_loop_are_those_of_its_selector() -> None:
    async def main() -> None:
        turns = turns_of(asyncio.get_running_loop())
        assert turns is not None
        before = sum(turns.counts)
        for _ in range(5):
            await asyncio.sleep(0)
        assert sum(turns.counts) >= before + 5

    with asyncio.Runner(loop_factory=polling_loop_factory()) as runner:
        runner.run(main())
    with asyncio.Runner() as runner:
        assert turns_of(runner.get_loop()) is None


def test_timers_are_not_late_for_it() -> None:
    """A timer ends the looking: what is waited for is the least of both."""

    async def main() -> list[str]:
        done: list[str] = []
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        here.setblocking(False)
        there.setblocking(False)
        for _ in range(20):  # quick successions: now it polls
            await loop.sock_sendall(there, b"x")
            await loop.sock_recv(here, 1)
        finished = asyncio.Event()
        loop.call_later(0.02, done.append, "second")
        loop.call_later(0.01, done.append, "first")
        loop.call_later(0.03, finished.set)
        await finished.wait()
        here.close()
        there.close()
        return done

    with asyncio.Runner(loop_factory=polling_loop_factory()) as runner:
        assert runner.run(main()) == ["first", "second"]
