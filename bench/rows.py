"""What is measured: the rows of the goal table, and a few that decide everyday work.

A goal is a ratio to nfs-ganesha in the same pair of runs: of the rate (more is better). `docs/performance.md` says
where the goals come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.errors import BenchError

Place = Literal["tmpfs", "disk", "durable"]
"""`tmpfs`: memory; `disk`: a disk, for a volume that dies with the host; `durable`: a disk, for one that must not."""

Rate = Literal["calls_per_second", "mib_per_second", "entries_per_second"]


@dataclass(frozen=True)
class Load:
    """One run of the generator, whatever the server."""

    operation: str
    outstanding: int = 1
    connections: int = 1
    io_bytes: int = 4096
    stable: int = 0
    commit_mib: int = 0
    entries: int = 1000
    verified: bool = True
    place: Place = "tmpfs"

    def words(self) -> list[str]:
        """Its options for the generator."""
        words = [f"--outstanding={self.outstanding}", f"--connections={self.connections}"]
        if self.operation in ("read", "write"):
            words += [f"--io-bytes={self.io_bytes}"]
        if self.operation == "write":
            words += [f"--stable={self.stable}", f"--commit-mib={self.commit_mib}"]
            words += [] if self.verified else ["--unverified"]
        if self.operation == "readdirplus":
            words += [f"--entries={self.entries}"]
        return [*words, self.operation]


@dataclass(frozen=True)
class Row:
    """One line of the table. `beside` is another client's load, on the same server, that is not measured itself."""

    name: str
    title: str
    load: Load
    goal: float | None = None
    rate: Rate = "calls_per_second"
    quick: bool = True
    beside: Load | None = None


MIB = 1 << 20
_COMMITS = Load("write", outstanding=4, io_bytes=MIB, commit_mib=16, place="durable")

ROWS = (
    Row("getattr", "GETATTR (32)", Load("getattr", 32), 2.5),
    Row("access", "ACCESS (32)", Load("access", 32), 2.5, quick=False),
    Row("lookup", "LOOKUP (32)", Load("lookup", 32), 2.0),
    Row("read4k", "READ 4 KiB (32)", Load("read", 32), 2.7),
    Row("write4k", "WRITE 4 KiB (32)", Load("write", 32), 2.7),
    Row("setattr", "SETATTR (32)", Load("setattr", 32), quick=False),
    Row("stable2k", "WRITE 2 KiB FILE_SYNC (32)", Load("write", 32, io_bytes=2048, stable=2), quick=False),
    Row("create", "CREATE + REMOVE (32)", Load("create", 32), 2.5),
    Row("readdirplus", "READDIRPLUS of 1,000 (4)", Load("readdirplus", 4), 1.0, "entries_per_second"),
    Row("read1m", "READ 1 MiB (4)", Load("read", 4, io_bytes=MIB), 1.6, "mib_per_second"),
    Row("read1m-1", "READ 1 MiB (1)", Load("read", 1, io_bytes=MIB), 1.0, "mib_per_second"),
    Row("read1m-disk", "READ 1 MiB (4), disk", Load("read", 4, io_bytes=MIB, place="disk"), 1.6, "mib_per_second",
        quick=False),
    Row("write1m", "WRITE 1 MiB (4)", Load("write", 4, io_bytes=MIB), 2.0, "mib_per_second"),
    Row("commit1m", "WRITE 1 MiB with COMMITs, disk", _COMMITS, 1.0, "mib_per_second"),
    Row("getattr-1", "GETATTR (1)", Load("getattr"), 1.0),
    Row("lookup-1", "LOOKUP (1)", Load("lookup"), 1.0),
    Row("setattr-1", "SETATTR (1)", Load("setattr")),
    Row("create-1", "CREATE + REMOVE (1)", Load("create")),
    Row("getattr-commits", "GETATTR (1) beside COMMITs", Load("getattr"), beside=_COMMITS, quick=False),
    Row("getattr-4x8", "GETATTR, 4 connections (8)", Load("getattr", 8, connections=4), quick=False),
)  # fmt: skip


def chosen(names: str | None, quick: bool) -> Sequence[Row]:
    """The rows of a comma-separated list; without one all, or the short form's. BenchError for an unknown name."""
    if names is None:
        return [row for row in ROWS if row.quick or not quick]
    known = {row.name: row for row in ROWS}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise BenchError(f"unknown row {', '.join(unknown) or names!r}; there are: {', '.join(known)}")
    return [known[name] for name in wanted]
