"""What the audit layer tells its sink: single operations, and spans of reads or writes of one file. Immutable.

`at` is the clock of the last `Audit.tick` before it, in the embedder's own unit; paths are from the volume's root,
b"?" when the file has no name any more. `nanoseconds` is how long the file system took, flushes waited for included; 0
where it was refused before it did anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias


class Event(NamedTuple):
    """One operation that changed something or was refused. `result` is 0 or an errno."""

    at: float
    operation: str
    fileid: int
    path: bytes
    to_path: bytes | None
    result: int
    nanoseconds: int = 0


class Span(NamedTuple):
    """Reads, or writes, of one file: how many, how many bytes, between which offsets, and the time of all together (a
    wait for a flush that outlasts the span is not in it)."""

    at: float
    operation: str
    fileid: int
    path: bytes
    operations: int
    bytes: int
    offset_min: int
    offset_end: int
    nanoseconds: int = 0


Record: TypeAlias = Event | Span

Sink: TypeAlias = Callable[[Sequence[Record]], None]
"""Takes a batch. When it raises, the batch is offered again later, and until then nothing new is done."""
