"""The tables of our Markdown documents, for tests that hold them to the code.

A row is the texts of its cells, without the backticks; a table is the rows below its separator. Headings are as
written, without their `#`s.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

Row = tuple[str, ...]
Table = list[Row]

_HEADING = re.compile(r"#+ +(.*\S)")
_SEPARATOR = re.compile(r"\|[-:| ]+\|")
# A cell ends at a bar; `\|` is a bar in a cell.
_BAR = re.compile(r"(?<!\\)\|")


def headings(path: Path) -> list[str]:
    return [found[1] for line in _lines(path) if (found := _HEADING.fullmatch(line))]


def tables(path: Path) -> dict[str, list[Table]]:
    """The tables below each heading, in order; headings without one are there too."""
    found: dict[str, list[Table]] = {}
    here: list[Table] = []
    rows: Table | None = None
    for line in _lines(path):
        if heading := _HEADING.fullmatch(line):
            here, rows = found.setdefault(heading[1], []), None
        elif _SEPARATOR.fullmatch(line):
            rows = []
            here.append(rows)
        elif rows is not None and line.startswith("|"):
            rows.append(tuple(cell.strip().replace("`", "") for cell in _BAR.split(line)[1:-1]))
        elif not line.startswith("|"):
            rows = None
    return found


def code_blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def _lines(path: Path) -> list[str]:
    """Without fenced blocks: a `#` there is a comment."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [line.rstrip() for line in text.splitlines()]
