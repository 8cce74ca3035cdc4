"""What the server knows of itself, for metrics: connections, bytes, the procedures' counts, the loop's lag."""

from __future__ import annotations

from dataclasses import dataclass, field

from nfsd.procedures.counts import ProcedureCounts
from nfsd.server.turns import Turns


@dataclass(slots=True)
class ServerStats:
    """Counts since the server started; the gauges say "now". Read them from the loop's thread."""

    procedures: ProcedureCounts = field(default_factory=ProcedureCounts)
    connections: int = 0
    """Gauge: open now."""
    connections_accepted: int = 0
    connections_refused: int = 0
    """By address, by port, or because the server was full."""
    connections_broken: int = 0
    """Closed by us because the peer broke the protocol or stalled."""
    received_bytes: int = 0
    sent_bytes: int = 0
    """A second behind."""
    handler_errors: int = 0
    """Exceptions that were ours and got SYSTEM_ERR. Any other value than 0 is a bug report."""
    loop_lag_seconds: float = 0.0
    """Gauge: how late the last tick of the loop came. Everything in this process waits at least that long."""
    loop_lag_seconds_max: float = 0.0
    turns: Turns | None = None
    """How long each turn of the loop took: nobody else is served meanwhile. None: nobody counts them."""
