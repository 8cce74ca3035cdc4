"""The protocol benchmark: each row in turn against both servers, repetition after repetition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.generator import Generator
from bench.peers import Peer, Peers
from bench.ratios import Pair, Sample, Spread, cpu_per_unit, named, paired, spread
from bench.rows import Row
from integration.lab.errors import LabError

BESIDE_MORE_SECONDS = 1.5
BESIDE_END_SECONDS = 90.0


@dataclass
class Measured:
    """A row with what was seen. `failure` is the first wrong answer, after which the row is left alone."""

    row: Row
    pairs: list[Pair] = field(default_factory=list)
    failure: str | None = None

    def ratio(self) -> Spread | None:
        """Of the rates: more is better."""
        return paired(self.pairs, named(self.row.rate))

    def cpu(self) -> Spread | None:
        """Of the server's processor time for one unit of the rate: less is better."""
        return paired(self.pairs, cpu_per_unit(self.row.rate))

    def latency(self, quantile: str) -> Spread | None:
        """`p50_us` and the like: less is better."""
        return paired(self.pairs, named(quantile))

    def absolute(self, index: int, name: str) -> float | None:
        """The median of one server's own figure: 0 ours, 1 theirs."""
        values = spread([pair[index][name] for pair in self.pairs])
        return values.median if values else None

    def met(self) -> bool | None:
        """Whether the goal is; None where there is none, or nothing was measured."""
        ratio = self.ratio()
        return None if self.row.goal is None or ratio is None else ratio.median >= self.row.goal


@dataclass(frozen=True)
class Pace:
    """How long and how often."""

    seconds: float
    warmup: float
    repetitions: int


def measure(
    generator: Generator, peers: Peers, rows: Sequence[Row], pace: Pace, told: Callable[[str], None]
) -> list[Measured]:
    """Repetitions outside, rows inside: each row is seen at `repetitions` different times of the machine's day."""
    results = [Measured(row) for row in rows]
    for repetition in range(pace.repetitions):
        for result in results:
            if result.failure is None:
                told(f"{repetition + 1}/{pace.repetitions} {result.row.title}")
                _measure_pair(generator, peers, result, pace)
    return results


def _measure_pair(generator: Generator, peers: Peers, result: Measured, pace: Pace) -> None:
    samples: list[Sample] = []
    for peer in peers:
        try:
            samples.append(_measure_one(generator, peer, result.row, pace))
        except LabError as error:
            result.failure = f"{peer.name}: {error}"
            return
    result.pairs.append((samples[0], samples[1]))


def _measure_one(generator: Generator, peer: Peer, row: Row, pace: Pace) -> Sample:
    if row.beside is None:
        return generator.run(peer, row.load, pace.seconds, pace.warmup)
    other = generator.start(peer, row.beside, pace.seconds + pace.warmup + BESIDE_MORE_SECONDS)
    try:
        sample = generator.run(peer, row.load, pace.seconds, pace.warmup)
        if other.wait(BESIDE_END_SECONDS):
            raise LabError(f"the load beside it failed: {other.output()}")
        return sample
    finally:
        other.close()
