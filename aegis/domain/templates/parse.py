"""From pieces to a tree: paths, `if` and `each`. What can be known to be wrong without values is said here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final, Literal

from aegis.domain.templates.errors import TemplateError, error_at
from aegis.domain.templates.scan import Piece, Tag, Text, scan

NESTING_MAX = 32
HELPERS: Final = ("if", "each")
DATA: Final = ("index", "first", "last", "key", "root")
_PART = r"(?:[A-Za-z0-9_-]+|\[[^\]\n]*\])"
_PATH = re.compile(r"(?P<up>(?:\.\./)*)(?P<data>@)?(?P<names>NAME(?:[./]NAME)*|\.)".replace("NAME", _PART))
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Path:
    """`up`: how many `../`; `data`: the name after `@`; no names: `this`."""

    up: int
    data: str | None
    names: tuple[str, ...]
    text: str  # as it was written
    offset: int


@dataclass(frozen=True, slots=True)
class Put:
    path: Path


@dataclass(slots=True)
class Block:
    kind: Literal["if", "each"]
    path: Path
    body: list[Node] = field(default_factory=list)
    otherwise: list[Node] = field(default_factory=list)


Node = str | Put | Block


@dataclass(frozen=True, slots=True)
class Template:
    source: str
    nodes: Sequence[Node]


def parse(source: str) -> Template:
    """TemplateError names the place of the first thing that is wrong."""
    return Template(source, _Parser(source, scan(source)).program())


@dataclass(slots=True)
class _Open:
    """A block under way. `chained`: made by `else if`, so it ends with the block it is in."""

    block: Block
    tag: Tag
    chained: bool
    in_else: bool = False


class _Parser:
    def __init__(self, source: str, pieces: Sequence[Piece]) -> None:
        self._source = source
        self._pieces = pieces
        self._open: list[_Open] = []
        self._nodes: list[Node] = []

    def program(self) -> Sequence[Node]:
        for piece in self._pieces:
            if isinstance(piece, Text):
                if piece.text:
                    self._here().append(piece.text)
            else:
                self._tag(piece)
        if self._open:
            first = self._open[-1]
            raise self._error(first.tag, f"{{{{#{first.block.kind}}}}} is not closed by {{{{/{first.block.kind}}}}}")
        return self._nodes

    def _here(self) -> list[Node]:
        if not self._open:
            return self._nodes
        last = self._open[-1]
        return last.block.otherwise if last.in_else else last.block.body

    def _tag(self, tag: Tag) -> None:
        inner, words = tag.inner, tag.inner.split()
        if inner.startswith("!") and not tag.raw:
            return
        if tag.raw or not words:
            self._put(tag, inner)
        elif inner.startswith("#"):
            self._begin(tag, inner[1:].split(), chained=False)
        elif inner.startswith("/"):
            self._end(tag, inner[1:].strip())
        elif words[0] == "else" or inner == "^":
            self._else(tag, words[1:])
        else:
            self._put(tag, inner.removeprefix("&").strip())

    def _put(self, tag: Tag, inner: str) -> None:
        self._here().append(Put(self._path(tag, inner)))

    def _begin(self, tag: Tag, words: list[str], *, chained: bool) -> None:
        helper = words[0] if words else ""
        if helper not in HELPERS:
            raise self._error(tag, f"there is no helper {helper!r}{_near(helper, HELPERS)}; there are: if, each")
        if len(words) != 2:
            raise self._error(tag, f"{{{{#{helper}}}}} takes one path, found {' '.join(words[1:]) or 'nothing'}")
        if len(self._open) >= NESTING_MAX:
            raise self._error(tag, f"blocks are nested deeper than {NESTING_MAX}")
        block = Block("if" if helper == "if" else "each", self._path(tag, words[1]))
        self._here().append(block)
        self._open.append(_Open(block, tag, chained))

    def _else(self, tag: Tag, words: list[str]) -> None:
        if not self._open:
            raise self._error(tag, "{{else}} without {{#if}} or {{#each}}")
        last = self._open[-1]
        if last.in_else:
            raise self._error(tag, f"a second {{{{else}}}} of one {{{{#{last.block.kind}}}}}")
        last.in_else = True
        if words:
            self._begin(tag, words, chained=True)

    def _end(self, tag: Tag, name: str) -> None:
        while self._open and self._open[-1].chained:
            self._open.pop()
        if not self._open:
            raise self._error(tag, f"{{{{/{name}}}}} closes nothing")
        opened = self._open.pop()
        if opened.block.kind != name:
            at = error_at(self._source, opened.tag.offset, "").line
            raise self._error(tag, f"{{{{/{name}}}}} where {{{{#{opened.block.kind}}}}} of line {at} is to be closed")

    def _path(self, tag: Tag, text: str) -> Path:
        found = _PATH.fullmatch(text)
        if found is None:
            wanted = "a path such as input, files.0.path, this, ../input or @index"
            word = text.split()[0] if text.split() else ""
            if len(text.split()) > 1 and _NAME.fullmatch(word):
                raise self._error(tag, f"there is no helper {word!r}; wanted {wanted}")
            raise self._error(tag, f"found {text!r}, wanted {wanted}")
        names = tuple(part.strip("[]") for part in re.findall(_PART, found["names"]))
        data = None
        if found["data"]:
            data, names = names[0] if names else "", names[1:]
            if data not in DATA:
                raise self._error(tag, f"there is no @{data}{_near(data, DATA)}; there are: @{', @'.join(DATA)}")
        elif names[:1] == ("this",):
            names = names[1:]
        return Path(len(found["up"]) // 3, data, names, text, tag.offset)

    def _error(self, tag: Tag, message: str) -> TemplateError:
        return error_at(self._source, tag.offset, message)


def _near(word: str, known: Sequence[str]) -> str:
    """`, did you mean x?` when something known is near."""
    found = get_close_matches(word, known, n=1, cutoff=0.5)
    return f", did you mean {found[0]}?" if found else ""
