"""From samples to ratios: what each pair of neighbouring runs says, and the median and the range of that.

The rule: only the two runs of a pair are ever divided. The machine of the next pair is another one.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

Sample = Mapping[str, float]
Pair = tuple[Sample, Sample]
"""Ours, theirs."""


class Spread(NamedTuple):
    """Of at least one value."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread | None:
    """None for no values."""
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def paired(pairs: Sequence[Pair], value: Callable[[Sample], float | None]) -> Spread | None:
    """The spread of ours / theirs; pairs in which either has no value, or theirs is 0, say nothing."""
    ratios = []
    for ours, theirs in pairs:
        above, below = value(ours), value(theirs)
        if above is not None and below:
            ratios.append(above / below)
    return spread(ratios)


def cpu_per_unit(rate: str) -> Callable[[Sample], float | None]:
    """Microseconds of processor time for one unit of `rate`: a call, an entry, a MiB (calls differ in size)."""

    def value(sample: Sample) -> float | None:
        share = sample.get("server_cpu_share")
        return None if share is None or not sample.get(rate) else share * 1e6 / sample[rate]

    return value


def named(name: str) -> Callable[[Sample], float | None]:
    """A figure of the sample as it is."""
    return lambda sample: sample.get(name)
