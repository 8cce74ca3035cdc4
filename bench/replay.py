"""`python -m bench replay`: what the duplicate request cache costs a call that must not be done twice, and in memory.

In this process, without sockets and files to serve: the guard is called as the dispatcher calls it, before a handler
that gives a prepared answer. Each way is measured beside the bare handler, in turn, with calls that no way has seen
before (but for "answered again"); reported is the difference, in microseconds a call.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from bench import machine
from bench.table import markdown
from nfsd.limits import REPLAY_BYTES_MAX, REPLAY_ENTRIES_MAX
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import NFS_PROGRAM, NFS_V3, Createmode3, Proc
from nfsd.nfs3.results import NO_WCC, encode_create, encode_wcc
from nfsd.procedures.counts import ProcedureCounts
from nfsd.procedures.replayed import Journal, ReplayGuard, Waiting
from nfsd.rpc.auth import Credentials
from nfsd.rpc.program import Body
from nfsd.server.replay_file import ReplayFile
from nfsd.xdr import Struct

CALLS = 5_000
REPETITIONS = 9
HANDLE = bytes(32)
CALLER = Credentials(1000, 1000, ())
_HEAD = ("what", "calls", "µs a call: median", "least", "most")


class _Client:
    host = "127.0.0.1"


class Way(NamedTuple):
    """One kind of call. `again`: the same calls a second time."""

    name: str
    proc: Proc
    arguments: Struct
    answer: bytes
    journal: bool = False
    waits: bool = False
    again: bool = False


_ENTRY = t.Diropargs3(HANDLE, b"a-name-of-usual-length.txt")
_CREATE = t.Create3Args(_ENTRY, (Createmode3.UNCHECKED, t.Sattr3(mode=0o644), None))
_REMOVE = t.Diropargs3Args(_ENTRY)
_CREATED = encode_create(HANDLE, bytes(88), NO_WCC)
_REMOVED = encode_wcc(NO_WCC)
WAYS = (
    Way("CREATE, in memory only", Proc.CREATE, _CREATE, _CREATED),
    Way("CREATE", Proc.CREATE, _CREATE, _CREATED, journal=True),
    Way("REMOVE, in memory only", Proc.REMOVE, _REMOVE, _REMOVED),
    Way("REMOVE", Proc.REMOVE, _REMOVE, _REMOVED, journal=True),
    Way("REMOVE that waits for a flush", Proc.REMOVE, _REMOVE, _REMOVED, journal=True, waits=True),
    Way("REMOVE, answered again", Proc.REMOVE, _REMOVE, _REMOVED, journal=True, again=True),
    Way("SETATTR without a guard", Proc.SETATTR, t.Setattr3Args(HANDLE, t.Sattr3(mode=0o600)), _REMOVED, journal=True),
)
"""The journal is the file in the state directory, as every server with one has it."""


def command(_options: argparse.Namespace) -> int:
    """`python -m bench replay`."""
    rows = [_HEAD, *(_row(way) for way in WAYS)]
    print(markdown(rows))
    print()
    for line in (*_memory(), *_restart()):
        print(line)
    print()
    for name, value in machine.describe("asyncio").items():
        print(f"- {name}: {value}", file=sys.stderr)
    return 0


def _row(way: Way) -> tuple[str, ...]:
    costs = list(_costs(way))
    shown = (statistics.median(costs), min(costs), max(costs))
    return (way.name, f"{CALLS * REPETITIONS:,}", *(f"{cost * 1e6:.2f}" for cost in shown))


def _costs(way: Way) -> Iterator[float]:
    """Seconds that the guard adds to a call, a figure for each repetition."""
    with tempfile.TemporaryDirectory() as directory:
        journal = ReplayFile(Path(directory) / "replies") if way.journal else None
        guard = ReplayGuard(ProcedureCounts(), time.monotonic, journal)
        handler = _handler(way)
        xids = count(1)
        for _ in range(REPETITIONS):
            mine = [next(xids) for _ in range(CALLS)]
            if way.again:
                mine = mine[: REPLAY_ENTRIES_MAX // 2]
                _drive(way, guard, handler, mine)
            bare = _drive(way, None, handler, mine)
            yield (_drive(way, guard, handler, mine) - bare) / len(mine)
        if journal is not None:
            journal.close()


def _handler(way: Way) -> Callable[..., Body | Awaitable[Body]]:
    if not way.waits:
        return lambda _peer, _credentials, _buf, _offset, _end: way.answer

    def waiting(_peer: object, _credentials: object, _buf: object, _offset: int, _end: int) -> Awaitable[Body]:
        result = Waiting()
        result.executed = True
        result.awaitable = _soon(way.answer)
        return result

    return waiting


async def _soon(answer: bytes) -> Body:
    return answer


def _drive(way: Way, guard: ReplayGuard | None, handler: Any, xids: list[int]) -> float:
    """Seconds for a call with each of these xids."""
    record = bytearray(bytes(way.arguments))
    peer, end, proc = _Client(), len(record), int(way.proc)
    began = time.perf_counter()
    for xid in xids:
        if guard is None:
            body = handler(peer, CALLER, record, 0, end)
        else:
            body = guard(handler, peer, (xid, NFS_PROGRAM, NFS_V3, proc), CALLER, record, 0, end)
        if way.waits:
            _finish(body.__await__() if isinstance(body, Waiting) else body)
    return time.perf_counter() - began


def _finish(awaitable: Any) -> None:
    """Run to its end what never waits for anything real."""
    step: Coroutine[Any, Any, Any] = awaitable
    try:
        step.send(None)
    except StopIteration:
        return
    raise AssertionError("it waited")


def _filled(journal: Journal | None = None) -> ReplayGuard:
    """A guard with as much as it holds."""
    guard = ReplayGuard(ProcedureCounts(), time.monotonic, journal)
    way = WAYS[0]
    _drive(way, guard, _handler(way), list(range(2 * REPLAY_ENTRIES_MAX)))
    return guard


def full() -> tuple[int, int, int]:
    """(answers, bytes of memory they take, bytes the cache counts for them), of a full cache."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    guard = _filled()
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return len(guard.cache), taken, guard.cache.stored_bytes


def _memory() -> Iterator[str]:
    entries, taken, counted = full()
    kib = [f"{size / 1024:,.0f} KiB" for size in (taken, counted, REPLAY_BYTES_MAX)]
    each = [f"{size / entries:,.0f}" for size in (taken, counted)]
    yield (
        f"full of CREATEs: {entries:,} answers in {kib[0]}, counted as {kib[1]} of at most {kib[2]} "
        f"({each[0]} and {each[1]} bytes an answer)"
    )


def _restart() -> Iterator[str]:
    """What the next process needs to take it in."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "replies"
        journal = ReplayFile(path)
        _filled(journal)
        journal.close()
        began = time.perf_counter()
        journal = ReplayFile(path)
        guard = ReplayGuard(ProcedureCounts(), time.monotonic, journal)
        seconds = time.perf_counter() - began
        yield f"taken in by the next process: {len(guard.cache):,} answers in {seconds * 1e3:.0f} ms"
        journal.close()
