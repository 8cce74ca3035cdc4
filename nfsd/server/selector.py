"""The selector under the event loop: epoll that looks again for a moment before it sleeps.

A client that sends one call at a time waits for each answer, and a processor that was put to sleep between two of its
calls takes longer to wake, with cold caches, than the call takes to answer: in a virtual machine 50 microseconds and
more. So when calls come in quick succession, the loop asks epoll again and again instead of sleeping, for as long as
the next event can be expected, and sleeps when it does not come.

How long that is, is learned as the kernel's own halt polling learns it (drivers/cpuidle/governors/haltpoll.c): a wait
that was shorter than the longest but longer than the window makes the window twice as long, a wait longer than the
longest ends it. So an idle server looks once in vain and then sleeps, at no cost at all.

The rule: nobody else is kept waiting by it. Between two looks the processor is offered to whoever wants it
(sched_yield); when somebody took it, nothing is polled for a while, and where there is only one processor, never.
"""

from __future__ import annotations

import asyncio
import os
import select
import selectors
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from nfsd.limits import BUSY_POLL_SECONDS_MAX
from nfsd.server.turns import Turns, counted

_WINDOW_FIRST_NS = 50_000
_TAKEN_NS = 50_000
"""A sched_yield that lasts longer gave the processor to somebody."""

_REST_NS = 20_000_000
"""How long nothing is polled then."""

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class BusyPollSelector(selectors.EpollSelector):
    """`asyncio.SelectorEventLoop(BusyPollSelector())`. With `longest_seconds` 0 it sleeps at once, as others do."""

    def __init__(self, longest_seconds: float = BUSY_POLL_SECONDS_MAX) -> None:
        super().__init__()
        self._epoll = select.epoll.fromfd(os.dup(self.fileno()))
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._longest_ns = int(longest_seconds * 1e9) if len(os.sched_getaffinity(0)) > 1 else 0
        self._window_ns = 0
        self._rest_until_ns = 0
        self.turns = Turns()
        self._returned_ns = 0

    def register(self, fileobj: Any, events: int, data: object = None) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = super().unregister(fileobj)
        del self._keys[key.fd]
        return key

    def modify(self, fileobj: Any, events: int, data: object = None) -> selectors.SelectorKey:
        key = super().modify(fileobj, events, data)
        self._keys[key.fd] = key
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As `selectors.EpollSelector.select`."""
        keys = self._keys
        began = perf_counter_ns()
        if self._returned_ns:
            self.turns.add(began - self._returned_ns)
        if timeout is not None and timeout <= 0:
            events = self._epoll.poll(0, len(keys) or 1)
        else:
            events = self._wait(began, -1 if timeout is None else timeout)
        self._returned_ns = perf_counter_ns()
        ready = []
        for fd, event in events:
            key = keys.get(fd)
            if key is not None:
                mask = (_READ if event & ~_OUT else 0) | (_WRITE if event & ~_IN else 0)
                ready.append((key, mask & key.events))
        return ready

    def _wait(self, began: int, seconds: float) -> list[tuple[int, int]]:
        """For the next events; -1: however long it takes."""
        if self._window_ns and began >= self._rest_until_ns:
            events = self._look_again(
                began, self._window_ns if seconds < 0 else min(self._window_ns, int(seconds * 1e9))
            )
            if events:
                return events
        events = self._epoll.poll(seconds, len(self._keys) or 1)
        waited = perf_counter_ns() - began
        if waited >= self._longest_ns:
            self._window_ns = 0
        elif waited > self._window_ns:
            self._window_ns = min(max(_WINDOW_FIRST_NS, 2 * self._window_ns), self._longest_ns)
        return events

    def _look_again(self, began: int, window_ns: int) -> list[tuple[int, int]]:
        """Until something is there, or the window is over, or the processor is wanted."""
        poll, events_max, end = self._epoll.poll, len(self._keys) or 1, began + window_ns
        while True:
            events = poll(0, events_max)
            now = perf_counter_ns()
            if events or now >= end:
                return events
            os.sched_yield()
            if perf_counter_ns() - now > _TAKEN_NS:
                self._rest_until_ns = now + _REST_NS
                return []

    def close(self) -> None:
        """Safe to call twice."""
        self._epoll.close()
        super().close()


def polling_loop_factory(busy_poll_seconds: float = BUSY_POLL_SECONDS_MAX) -> Callable[[], asyncio.AbstractEventLoop]:
    """For `asyncio.Runner`: an event loop on this selector, whose turns are counted (`turns_of`)."""

    def made() -> asyncio.AbstractEventLoop:
        selector = BusyPollSelector(busy_poll_seconds)
        loop = asyncio.SelectorEventLoop(selector)
        counted(loop, selector.turns)
        return loop

    return made
