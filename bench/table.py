"""Results as a table that reads well in a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from bench.protocol import Measured
from bench.ratios import Spread

HEAD = ("operation (outstanding)", "nfsd", "ganesha", "rate", "goal", "CPU", "p50", "p99")
UNITS = {"calls_per_second": "/s", "mib_per_second": " MiB/s", "entries_per_second": " entries/s"}


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first one the head, as a table with columns of even width; the first column left-aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [_line(row, widths) for row in rows]
    rule = "| " + " | ".join("-" * width if not column else "-" * (width - 1) + ":"
                             for column, width in enumerate(widths)) + " |"  # fmt: skip
    return "\n".join([lines[0], rule, *lines[1:]])


def protocol_table(results: Sequence[Measured]) -> str:
    """Absolute medians first, then ratios ours / ganesha as `median (least-most)`."""
    return markdown([HEAD, *(_cells(result) for result in results)])


def _cells(result: Measured) -> Sequence[str]:
    row = result.row
    if result.failure is not None:
        return (row.title, "failed", *[""] * (len(HEAD) - 2))
    goal = "" if row.goal is None else f"{row.goal:.1f} {'met' if result.met() else 'missed'}"
    return (
        row.title,
        _absolute(result.absolute(0, row.rate), row.rate),
        _absolute(result.absolute(1, row.rate), row.rate),
        ratio_cell(result.ratio()),
        goal,
        ratio_cell(result.cpu()),
        ratio_cell(result.latency("p50_us")),
        ratio_cell(result.latency("p99_us")),
    )


def disturbance(results: Sequence[Measured]) -> str | None:
    """How much longer a GETATTR's p99 is while another client has its data committed; None when that was not run."""
    by_name = {result.row.name: result for result in results}
    quiet, busy = by_name.get("getattr-1"), by_name.get("getattr-commits")
    if quiet is None or busy is None or not quiet.pairs or not busy.pairs:
        return None
    words = []
    for index, server in enumerate(HEAD[1:3]):
        before, beside = quiet.absolute(index, "p99_us"), busy.absolute(index, "p99_us")
        if before and beside:
            words.append(f"{server} {beside / before:.1f} times ({before:.0f} -> {beside:.0f} us)")
    return "p99 of GETATTR (1) beside COMMITs, against the quiet one: " + ", ".join(words)


def ratio_cell(ratio: Spread | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f} ({ratio.least:.2f}-{ratio.most:.2f})"


def _absolute(value: float | None, rate: str) -> str:
    return "" if value is None else f"{value:,.0f}{UNITS[rate]}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell.ljust(width) if not column else cell.rjust(width)
             for column, (cell, width) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
    return "| " + " | ".join(cells) + " |"
