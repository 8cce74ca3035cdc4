"""What a command prints: text for people or JSON for programs; colours on a terminal only.

Text that comes from containers and models is `clean`ed first: a terminal obeys escape sequences, whoever wrote them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, TextIO

import typer

from aegis.cli.failures import CommandFailed


class Format(str, Enum):  # noqa: UP042 - typer shows the values
    TEXT = "text"
    JSON = "json"


Output = Annotated[
    Format, typer.Option("--output", "-o", envvar="AEGIS_OUTPUT", help="Text for people or JSON for programs.")
]

STYLES = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36", "dim": "2", "bold": "1"}
STATE_STYLES = {
    "completed": "green",
    "success": "green",
    "available": "green",
    "running": "cyan",
    "attached": "cyan",
    "refining": "yellow",
    "failed": "red",
    "cancelled": "yellow",
}
CONTROL = {code: None for code in [*range(0x20), 0x7F, *range(0x80, 0xA0)] if chr(code) not in "\n\t"}


def clean(text: object) -> str:
    """Without control characters (line ends and tabs stay): safe to print."""
    return str(text).translate(CONTROL)


def paint(text: str, style: str, stream: TextIO | None = None) -> str:
    stream = stream or sys.stdout
    if not style or not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m"


def state(name: str) -> str:
    return paint(name, STATE_STYLES.get(name, ""))


def say(text: str = "", style: str = "") -> None:
    print(paint(text, style), flush=True)


class Live:
    """Lines, the last of which may be a passing one (a progress) that the next line takes the place of. Off a terminal
    passing lines are left out: they are for eyes."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._passing = False

    def line(self, text: str, style: str = "") -> None:
        self.clear()
        say(text, style)

    def passing(self, text: str, style: str = "") -> None:
        if self._terminal:
            width = shutil.get_terminal_size().columns
            print(f"\r\x1b[2K{paint(text[: width - 1], style)}", end="", flush=True)
            self._passing = True

    def clear(self) -> None:
        if self._passing:
            print("\r\x1b[2K", end="", flush=True)
            self._passing = False


def bar(done: int, total: int | None, width: int = 24) -> str:
    """`[#####-----]  50 %`; without a known total nothing."""
    if not total:
        return ""
    share = min(done / total, 1.0)
    full = round(share * width)
    return f"[{'#' * full}{'-' * (width - full)}] {share:4.0%}"


def print_json(value: Any) -> None:
    print(
        json.dumps(value, indent=2, ensure_ascii=not (sys.stdout.encoding or "").lower().startswith("utf")), flush=True
    )


def print_json_line(value: Any) -> None:
    print(json.dumps(value), flush=True)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Columns as wide as they need, never cut: output that is piped has no width. `empty` is said instead of no
    rows."""
    cells = [[clean(cell).replace("\n", " ") for cell in row] for row in rows]
    if not cells:
        say(empty, "dim")
        return
    widths = [max(len(row[i]) for row in [list(headers), *cells]) for i in range(len(headers))]
    say("  ".join(h.ljust(w) for h, w in zip(headers, widths, strict=True)).rstrip(), "bold")
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        painted = [paint(cell, STATE_STYLES.get(cell.strip(), "")) for cell in padded]
        print("  ".join(painted).rstrip())


def fields(pairs: Mapping[str, object]) -> None:
    """One field a line; what is not set is left out."""
    shown = {name: value for name, value in pairs.items() if value not in (None, "", [], {})}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        text = clean(value).replace("\n", "\n" + " " * (width + 2))
        print(f"{paint(name.ljust(width), 'dim')}  {paint(text, STATE_STYLES.get(text, ''))}")


def when(text: str | None) -> str:
    """An API time in the reader's own zone, to the second."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S") if text else ""


def size(count: int | None) -> str:
    if count is None:
        return "unlimited"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def print_failure(failure: CommandFailed, output: Format) -> None:
    """On the error stream: what was wrong, each problem with its place, and what to do."""
    if output is Format.JSON:
        print(json.dumps(failure.document), file=sys.stderr)
        return
    print(f"{paint('error:', 'red', sys.stderr)} {clean(failure.message)}", file=sys.stderr)
    # A document's own message shows each problem with its line and a caret already.
    for problem in failure.problems if "\n" not in failure.message else []:
        print(f"  {_problem_line(problem)}", file=sys.stderr)
    if failure.next_step:
        print(f"{paint('next:', 'cyan', sys.stderr)} {clean(failure.next_step)}", file=sys.stderr)


def _problem_line(problem: Mapping[str, Any]) -> str:
    place = f"line {problem['line']}, column {problem.get('column', 1)}: " if problem.get("line") else ""
    parts = [f"{word} {problem[key]}" for key, word in (("found", "found"), ("wanted", "wanted")) if problem.get(key)]
    hint = f" ({problem['hint']})" if problem.get("hint") else ""
    return clean(f"{place}{problem.get('path') or '(document)'}: {', '.join(parts)}{hint}")
