"""How long the event loop was busy at a time: what every other client waited meanwhile.

A turn is from one look at the sockets to the next. A timer that measures how late it comes sees one turn a second; this
sees each of them, for two readings of the clock.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

TURN_UNIT_NS = 1024
"""Bucket `n` counts turns of less than `2**n` units that did not fit the bucket before."""

TURN_BUCKETS = 64
"""More than any 64-bit duration needs, so that no turn has to compare."""


class Turns:
    """The turns of one loop since it was made."""

    __slots__ = ("counts", "longest_ns")

    def __init__(self) -> None:
        self.counts = [0] * TURN_BUCKETS
        self.longest_ns = 0

    def add(self, nanoseconds: int) -> None:
        self.counts[(nanoseconds // TURN_UNIT_NS).bit_length()] += 1
        if nanoseconds > self.longest_ns:
            self.longest_ns = nanoseconds


_known: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()


def counted(loop: asyncio.AbstractEventLoop, turns: Turns) -> None:
    """The loop's turns are counted there."""
    _known[loop] = turns


def turns_of(loop: asyncio.AbstractEventLoop) -> Turns | None:
    """The turns of a loop, if anybody counts them (`server.selector` does; uvloop has nobody who could)."""
    return _known.get(loop)
