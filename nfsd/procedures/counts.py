"""What is counted of each call: how many, how long, with which status. For metrics, so cheap enough to be always on.

A call costs two readings of the clock and one increment; the number of calls is the sum of the latencies' histogram.
"""

from __future__ import annotations

from nfsd.nfs3.const import Proc

LATENCY_UNIT_NS = 1024
"""Bucket `n` of a histogram counts calls of less than `2**n` units that did not fit the bucket before."""

LATENCY_BUCKETS = 64
"""More than any 64-bit duration needs, so that no call has to compare."""


class ProcedureCounts:
    """The calls of one NFS service since it was made, by procedure number."""

    def __init__(self) -> None:
        self.latency: list[list[int]] = [[0] * LATENCY_BUCKETS for _ in Proc]
        """From the call's first look at its arguments to its results being encoded; waiting included, sending not."""
        self.failed: dict[tuple[int, int], int] = {}
        """(procedure, nfsstat3) other than NFS3_OK: bounded by the two enumerations."""
        self.read_bytes = 0
        self.written_bytes = 0
        self.replayed = 0
        """Retransmissions answered, or dropped, from the duplicate request cache."""

    def calls(self, proc: int) -> int:
        return sum(self.latency[proc])

    def count_failure(self, proc: int, status: int) -> None:
        key = (proc, status)
        self.failed[key] = self.failed.get(key, 0) + 1
