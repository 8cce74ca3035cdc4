"""docs/README.md lists every document, and no link within the documents leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.documents import DOCS, headings

_LINK = re.compile(r"\]\(([^)\s]+)\)")
DOCUMENTS = sorted(DOCS.rglob("*.md"))


def _links(path: Path) -> list[str]:
    return [link for link in _LINK.findall(path.read_text(encoding="utf-8")) if "://" not in link]


def _anchor(heading: str) -> str:
    """As GitHub makes it: lower case, no punctuation, blanks to hyphens."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_index_lists_every_document() -> None:
    listed = {(DOCS / link).resolve() for link in _links(DOCS / "README.md")}
    assert {path for path in DOCS.glob("*.md") if path.name != "README.md"} <= listed


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(DOCS)))
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in _links(document):
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), link
        if anchor:
            assert anchor in map(_anchor, headings(target)), link
