"""`python -m bench curves`: what a call costs, and how much memory the server takes, as a volume's work grows.

One server, ours, as in production and on tmpfs; a fresh one for each axis. At each size the same short runs, three
times, the median of which is told; memory is asked for afterwards. What grows:

- files: made, looked up and listed by a client, in directories of 10,000 at most
- entries: of one directory
- volumes: attached to the server; one is used
- connections: all of them calling

The rule: every size is reached through the server, never behind its back. A tree that is there before a server with a
quota starts is counted first, and that would be measured with it.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import curve_plot, generator, machine, peers, results
from bench.curve_plot import Panel
from bench.errors import BenchError
from bench.generator import Generator
from bench.ratios import Sample
from bench.rows import Load
from bench.table import markdown
from integration.lab import Lab, Network
from integration.lab.servers import SERVER_UID
from nfsd.vfs import search

AXES: Mapping[str, Sequence[int]] = {
    "files": (100, 1_000, 10_000, 100_000, 1_000_000),
    "entries": (100, 1_000, 10_000, 100_000),
    "volumes": (1, 10, 100, 1_000),
    "connections": (1, 4, 16, 64, 200),
}
QUICK_MAX = {"files": 100_000, "entries": 10_000, "volumes": 100, "connections": 200}
REPETITIONS = 3
SECONDS, QUICK_SECONDS, WARMUP = 1.0, 0.4, 0.2
DIRECTORY_FILES = 10_000
WALK_SECONDS = 0.05
COMMAND_SECONDS = 10.0
TMPFS = "/bench/tmpfs"
RATES = ("GETATTR", "LOOKUP", "CREATE + REMOVE", "READDIRPLUS entries")
_HEAD = ("axis", "size", *(f"{name}/s" for name in RATES), "RSS MiB", "PSS MiB", "search ms")


class Point(NamedTuple):
    """One size. `samples`: of each rate, as measured; `search_ms`: see there; only where files grow."""

    axis: str
    size: int
    samples: Mapping[str, Sequence[float]]
    rss_mib: float
    pss_mib: float
    search_ms: float | None

    def rate(self, name: str) -> float:
        """The median, in calls or entries a second."""
        return statistics.median(self.samples[name])


def command(options: argparse.Namespace) -> int:
    """`python -m bench curves`."""
    program = generator.build()
    facts = machine.describe(options.loop)
    points: list[Point] = []
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    repetitions = options.repetitions or REPETITIONS
    with Lab.open() as lab:
        for axis in AXES:
            with peers.places() as places:
                for point in _axis(lab, program, axis, places["tmpfs"], options, seconds, repetitions):
                    points.append(point)
                    print(" ".join(_cells(point)), flush=True)
    shown = markdown([_HEAD, *(_cells(point) for point in points)])
    picture = curve_plot.svg("Cost as work grows: calls (entries) a second, and memory", panels(points))
    name = "curves-quick" if options.quick else "curves"
    settings = {"seconds": seconds, "warmup": WARMUP, "repetitions": repetitions}
    print(f"\n{shown}\n")
    for path in results.write(name, facts, settings, [point._asdict() for point in points], shown, picture):
        print(path)
    return 0


def sizes(axis: str, quick: bool) -> Sequence[int]:
    """Of an axis, from small to large."""
    return [size for size in AXES[axis] if not quick or size <= QUICK_MAX[axis]]


def panels(points: Sequence[Point]) -> list[list[Panel]]:
    """Rates beside memory, a row for each axis that was measured."""
    rows = []
    for axis in AXES:
        mine = [point for point in points if point.axis == axis]
        if mine:
            rates = {name: [(point.size, point.rate(name)) for point in mine] for name in RATES}
            memory = {"RSS": [(point.size, point.rss_mib) for point in mine]}
            rows.append([Panel(f"a second, by {axis}", rates), Panel(f"MiB, by {axis}", memory)])
    return rows


def _axis(
    lab: Lab, program: Path, axis: str, root: Path, options: argparse.Namespace, seconds: float, repetitions: int
) -> Iterator[Point]:
    wanted = sizes(axis, options.quick)
    if axis != "volumes":
        with lab.network() as network:
            state = lab.export_directory(f"state-of-{axis}")
            ours = _Ours(lab, network, program, {TMPFS: root}, state, options.loop)
            unknown = chunks(wanted) if axis == "files" else []
            for size in wanted:
                while unknown and unknown[0][0] < size:
                    ours.walk(*unknown.pop(0))
                yield ours.measured(axis, size, seconds, repetitions, root if axis == "files" else None)
            ours.server.stop()
        return
    for size in wanted:
        exports = {TMPFS: root} | {f"/bench/further/{number}": root / f"v{number}" for number in range(1, size)}
        for directory in exports.values():
            _make_directory(directory)
        with lab.network() as network:
            state = lab.export_directory(f"state-of-{axis}-{size}")
            ours = _Ours(lab, network, program, exports, state, options.loop)
            yield ours.measured(axis, size, seconds, repetitions, None)
            ours.server.stop()


class _Ours:
    """A running server and the generator that drives it."""

    def __init__(
        self, lab: Lab, network: Network, program: Path, exports: Mapping[str, Path], state: Path, loop: str
    ) -> None:
        self.server = peers.start_ours(lab, network, exports, state, loop=loop)
        self._network = network
        self._generator = Generator(network, program)
        self._peer = peers.peer(peers.OURS, self.server)

    def walk(self, start: int, count: int) -> None:
        """Make, look up and list a directory of so many files, which the server knows from then on."""
        peer = dataclasses.replace(self._peer, name=_walked(start))
        self._generator.run(peer, Load("readdirplus", entries=count), WALK_SECONDS, 0.0)

    def measured(self, axis: str, size: int, seconds: float, repetitions: int, searched: Path | None) -> Point:
        """All rates at this size, in turn; then the memory; then a search of the tree `searched`."""
        loads = _loads(axis, size)
        samples: dict[str, list[float]] = {name: [] for name in loads}
        for _ in range(repetitions):
            for name, load in loads.items():
                samples[name].append(_rate(load, self._generator.run(self._peer, load, seconds, WARMUP)))
        rss, pss = self._memory_mib()
        return Point(axis, size, samples, rss, pss, None if searched is None else search_ms(searched))

    def _memory_mib(self) -> tuple[float, float]:
        argv = ["cat", f"/proc/{self._peer.pid}/smaps_rollup"]
        text = self._network.run(argv, timeout=COMMAND_SECONDS).check().text
        return resident_mib(text)


def resident_mib(text: str) -> tuple[float, float]:
    """RSS and PSS of /proc/PID/smaps_rollup (proc_pid_smaps(5)). BenchError when it does not say them."""
    found = dict(re.findall(r"^(Rss|Pss):\s+(\d+) kB$", text, re.MULTILINE))
    if len(found) != 2:
        raise BenchError(f"smaps_rollup has no Rss and Pss of the server: {text[:80]!r}; is it still running?")
    return int(found["Rss"]) / 1024, int(found["Pss"]) / 1024


def search_ms(root: Path) -> float:
    """How long the server searches a tree for a handle it has forgotten, at worst: for an inode that is not there."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        began = time.perf_counter()
        search.walk(descriptor, {0})
        return (time.perf_counter() - began) * 1e3
    finally:
        os.close(descriptor)


def _loads(axis: str, size: int) -> Mapping[str, Load]:
    connections = size if axis == "connections" else 1
    outstanding = 1 if connections > 32 else 32 // connections
    small = [Load(name, outstanding, connections) for name in ("getattr", "lookup", "create")]
    entries = size if axis == "entries" else 1_000
    listing = Load("readdirplus", max(1, min(4, outstanding)), connections, entries=entries)
    return dict(zip(RATES, [*small, listing], strict=True))


def _rate(load: Load, sample: Sample) -> float:
    return sample["entries_per_second" if load.operation == "readdirplus" else "calls_per_second"]


def chunks(wanted: Sequence[int]) -> list[tuple[int, int]]:
    """(files before it, files) of each directory, so that every size wanted is met after some of them."""
    result, known = [], 0
    for size in wanted:
        while known < size:
            count = min(size - known, DIRECTORY_FILES)
            result.append((known, count))
            known += count
    return result


def _walked(start: int) -> str:
    return f"walked-{start:07}"


def _make_directory(directory: Path) -> None:
    """For the server's user; it may be there already."""
    directory.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        os.chown(directory, SERVER_UID, SERVER_UID)


def _cells(point: Point) -> list[str]:
    rates = [f"{point.rate(name):,.0f} ({min(of):,.0f}-{max(of):,.0f})" for name, of in point.samples.items()]
    found = "" if point.search_ms is None else f"{point.search_ms:,.1f}"
    return [point.axis, f"{point.size:,}", *rates, f"{point.rss_mib:,.0f}", f"{point.pss_mib:,.0f}", found]
