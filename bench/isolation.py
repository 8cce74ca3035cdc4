"""`python -m bench isolation`: how long one client's GETATTR takes while another client keeps the server busy.

One server, ours, as in production. For each kind of other work a quiet run and one beside it, in turn, so that both see
the same machine; told is the p99 of each, and the median of their ratios. Beside it stands how long the loop was busy
at a time: where that is short and the ratio large, the processor was shared, and nobody waited for the server. A long
turn proves less: it is time on the wall, and has what other processes took of the processor in it.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench import generator, machine, peers, results
from bench.generator import Generator
from bench.peers import Peer
from bench.plot import Bar, svg
from bench.protocol import BESIDE_END_SECONDS, BESIDE_MORE_SECONDS
from bench.ratios import Spread
from bench.rows import MIB, Load
from bench.run import turns_of_state
from bench.table import markdown
from integration.lab import Lab
from integration.lab.errors import LabError

GOAL = 2.0
"""The p99 beside other work is at most so many times the quiet one."""

OTHERS: Mapping[str, Load] = {
    "WRITE 1 MiB with COMMITs, disk": Load("write", 4, io_bytes=MIB, commit_mib=16, place="durable"),
    "READ 1 MiB, disk": Load("read", 4, io_bytes=MIB, place="disk"),
    "CREATE + REMOVE": Load("create", 4),
    "READDIRPLUS of 10,000": Load("readdirplus", 1, entries=10_000),
}
REPETITIONS, QUICK_REPETITIONS = 5, 3
SECONDS, QUICK_SECONDS, WARMUP = 2.0, 1.0, 0.3
PREPARE_SECONDS = 0.1
_GETATTR = Load("getattr")
_HEAD = ("beside", "quiet p99 us", "p99 us beside it", "times", "goal", "longest turn of the loop")


class Measured(NamedTuple):
    """`pairs`: p99 in microseconds, (quiet, beside)."""

    other: str
    pairs: Sequence[tuple[float, float]]
    longest_turn: str

    def ratio(self) -> Spread:
        """Beside / quiet, within pairs."""
        ratios = [beside / quiet for quiet, beside in self.pairs]
        return Spread(statistics.median(ratios), min(ratios), max(ratios))


def command(options: argparse.Namespace) -> int:
    """`python -m bench isolation`."""
    program = generator.build()
    facts = machine.describe(options.loop)
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    repetitions = options.repetitions or (QUICK_REPETITIONS if options.quick else REPETITIONS)
    measured = []
    with Lab.open() as lab, peers.places() as places:
        exports = {f"/bench/{place}": directory for place, directory in places.items()}
        for number, (name, load) in enumerate(OTHERS.items()):
            with lab.network() as network:
                state = lab.export_directory(f"state-of-isolation-{number}")
                server = peers.start_ours(lab, network, exports, state, loop=options.loop)
                driver, peer = Generator(network, program), peers.peer(peers.OURS, server)
                driver.run(peer, load, PREPARE_SECONDS, 0.0)  # makes what it needs
                pairs = [_pair(driver, peer, load, seconds) for _ in range(repetitions)]
                server.stop()
                measured.append(Measured(name, pairs, turns_of_state(state)))
    shown = table(measured)
    bars = [Bar(each.other, _inverted(each.ratio()), 1 / GOAL) for each in measured]
    picture = svg("GETATTR beside other work: quiet p99 / p99 (more is better)", "the dot is the median", bars)
    name = "isolation-quick" if options.quick else "isolation"
    settings = {"seconds": seconds, "warmup": WARMUP, "repetitions": repetitions}
    print(f"\n{shown}\n")
    for path in results.write(name, facts, settings, [each._asdict() for each in measured], shown, picture):
        print(path)
    return 0


def table(measured: Sequence[Measured]) -> str:
    """A line for each kind of other work."""
    return markdown([_HEAD, *(_cells(each) for each in measured)])


def _pair(driver: Generator, peer: Peer, load: Load, seconds: float) -> tuple[float, float]:
    quiet = driver.run(peer, _GETATTR, seconds, WARMUP)
    other = driver.start(peer, load, seconds + WARMUP + BESIDE_MORE_SECONDS)
    try:
        beside = driver.run(peer, _GETATTR, seconds, WARMUP)
        if other.wait(BESIDE_END_SECONDS):
            raise LabError(f"the load beside it failed: {other.output()}")
    finally:
        other.close()
    return quiet["p99_us"], beside["p99_us"]


def _cells(each: Measured) -> tuple[str, ...]:
    quiet, beside = (statistics.median(values) for values in zip(*each.pairs, strict=True))
    ratio = each.ratio()
    met = "met" if ratio.median <= GOAL else "missed"
    return (
        each.other, f"{quiet:,.0f}", f"{beside:,.0f}", f"{ratio.median:.1f} ({ratio.least:.1f}-{ratio.most:.1f})",
        f"{GOAL:g} {met}", each.longest_turn,
    )  # fmt: skip


def _inverted(ratio: Spread) -> Spread:
    return Spread(1 / ratio.median, 1 / ratio.most, 1 / ratio.least)
