"""Buffers that are used again, for reads: fresh megabytes cost a quarter of a READ in page faults.

A buffer belongs to one reader from `take` to `give`; one that is never given back is garbage collected, no harm done.
"""

from __future__ import annotations

KEPT_MAX = 16
"""Idle buffers kept; with `BUFFER_BYTES` the memory an idle volume holds."""

BUFFER_BYTES = 1 << 20
"""The largest READ a front end offers (rtmax)."""


class Buffers:
    """Hands out bytearrays of at least the size wanted."""

    def __init__(self) -> None:
        self._idle: list[bytearray] = []

    def take(self, size: int) -> bytearray:
        """A buffer for one reader; its old contents are somebody else's: show only what was read into it."""
        if size <= BUFFER_BYTES and self._idle:
            return self._idle.pop()
        return bytearray(max(size, BUFFER_BYTES))

    def give(self, buffer: bytearray) -> None:
        """The reader is done with it."""
        if len(buffer) == BUFFER_BYTES and len(self._idle) < KEPT_MAX:
            self._idle.append(buffer)
