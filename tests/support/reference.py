"""The tables of keys in docs/manifest.md and docs/configuration.md, made from the rows the documents are read by.

`python -m tests.support.reference` writes them anew between their markers; a test holds the files to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from aegis.config.table import ROWS, variable_of
from aegis.documents.agent_table import AGENT_TABLE
from aegis.documents.table import Dialect, Field

DOCS = Path(__file__).resolve().parents[2] / "docs"
BEGIN, END = "<!-- keys: begin (made by tests/support/reference.py) -->", "<!-- keys: end -->"
_WORDS = {Dialect.PAGE: "page", Dialect.DOCUMENTS: "documents", Dialect.BOTH: ""}


def keys_of(rows: Iterable[Field], variable: Callable[[Field], str | None] | None = None) -> str:
    """A Markdown table, a row for each key."""
    head = ["Key", "Value", "Meaning", "Words of"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        about = row.about[:1].upper() + row.about[1:]
        name = variable(row) if variable else None
        cells = [f"`{row.path}`", row.reader.wanted, f"{about} (`{name}`)" if name else about, _WORDS[row.dialect]]
        lines.append([cell.replace("|", "\\|") for cell in cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


TABLES = {
    "manifest.md": lambda: keys_of(AGENT_TABLE.fields),
    "configuration.md": lambda: keys_of(ROWS, variable_of),
}


def replaced(document: str, keys: str) -> str:
    before, rest = document.split(BEGIN)
    return f"{before}{BEGIN}\n{keys}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    for name, table in TABLES.items():
        path = DOCS / name
        path.write_text(replaced(path.read_text(encoding="utf-8"), table()), encoding="utf-8")
