"""The gateway's figures in the words of metrics: names, seconds, cumulative buckets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nfsd.nfs3.const import Nfsstat3, Proc
from nfsd.procedures.counts import LATENCY_UNIT_NS
from nfsd.server.stats import ServerStats
from nfsd.server.turns import TURN_UNIT_NS

Buckets = list[tuple[str, float]]
"""(upper bound in seconds, how many up to there), as Prometheus has a histogram; the last bound is +Inf."""

BUCKETS_SHOWN = 24
"""Of each histogram, from 1 microsecond in powers of two to 8.6 seconds."""


class GatewayFigures:
    """A view: what it says is what is true when it is asked."""

    def __init__(self, stats: ServerStats, exports: int) -> None:
        self._stats = stats
        self.exports = exports
        self.connections = stats.connections
        self.connections_accepted = stats.connections_accepted
        self.connections_refused = stats.connections_refused
        self.connections_broken = stats.connections_broken
        self.received_bytes = stats.received_bytes
        self.sent_bytes = stats.sent_bytes
        self.handler_errors = stats.handler_errors
        self.replayed = stats.procedures.replayed

    def calls(self) -> Iterator[tuple[str, Buckets]]:
        """(procedure, how long its calls took) of those that were called."""
        for proc in Proc:
            counts = self._stats.procedures.latency[proc]
            if any(counts):
                yield proc.name, _cumulative(counts, LATENCY_UNIT_NS)

    def failures(self) -> Iterator[tuple[str, str, int]]:
        """(procedure, status, how often)."""
        for (proc, status), count in self._stats.procedures.failed.items():
            yield Proc(proc).name, Nfsstat3(status).name, count

    def turns(self) -> tuple[Buckets, float] | None:
        """How long the event loop's turns took, and the longest in seconds; None where nobody counts."""
        turns = self._stats.turns
        return None if turns is None else (_cumulative(turns.counts, TURN_UNIT_NS), turns.longest_ns / 1e9)


def _cumulative(counts: Sequence[int], unit_ns: int) -> Buckets:
    total = 0
    buckets: Buckets = []
    for power in range(BUCKETS_SHOWN):
        total += counts[power]
        buckets.append((repr((unit_ns << power) / 1e9), float(total)))
    return [*buckets, ("+Inf", float(sum(counts)))]
