"""From a template's text to pieces: text and tags, with the white space that tags take with them removed.

White space as Handlebars 4 has it: `~` on a side of a tag removes all of it on that side; a block's tag or a comment
that has a line for itself takes the line with it. Whether a line is a tag's own is decided by what was written, not by
what other tags have left of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from aegis.domain.templates.errors import error_at

TEMPLATE_CHARACTERS_MAX = 65_536
_OPEN = re.compile(r"(?P<slashes>\\*)\{\{(?P<left>~)?(?P<third>\{)?")
_REST_OF_LINE = re.compile(r"[ \t]*\r?\n?")


@dataclass(slots=True)
class Text:
    text: str
    written: str


@dataclass(frozen=True, slots=True)
class Tag:
    """`inner`: what is between the braces, without `~` and outer white space; `offset`: where the tag begins."""

    inner: str
    offset: int
    strips_left: bool
    strips_right: bool
    raw: bool  # three braces

    @property
    def is_line(self) -> bool:
        """Whether a line with nothing but this tag disappears."""
        return not self.raw and (self.inner[:1] in ("#", "/", "!") or self.inner.split()[:1] == ["else"])


Piece = Text | Tag


def scan(source: str) -> list[Piece]:
    """TemplateError for a tag that is not closed, or a template that is too long."""
    if len(source) > TEMPLATE_CHARACTERS_MAX:
        raise error_at(
            source, 0, f"the template has {len(source)} characters, wanted at most {TEMPLATE_CHARACTERS_MAX}"
        )
    pieces = list(_joined(_pieces(source)))
    for index, piece in enumerate(pieces):
        if isinstance(piece, Tag):
            _take_white_space(pieces, index, piece)
    return pieces


def _pieces(source: str) -> Iterator[Piece]:
    position = 0
    while (found := _OPEN.search(source, position)) is not None:
        before = source[position : found.start()]
        slashes = len(found["slashes"])
        opens = found.start() + slashes
        if slashes == 1:  # `\{{`: the braces themselves
            yield _text(before + "{{")
            position = opens + 2
            continue
        # Of several backslashes the last one is Handlebars' own: `\\{{x}}` is a backslash and then a tag.
        yield _text(before + "\\" * max(slashes - 1, 0))
        tag, position = _tag(source, opens, found)
        yield tag
    yield _text(source[position:])


def _text(text: str) -> Text:
    return Text(text, text)


def _joined(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Texts side by side are one; empty ones are none."""
    waiting = ""
    for piece in pieces:
        if isinstance(piece, Text):
            waiting += piece.text
            continue
        if waiting:
            yield _text(waiting)
            waiting = ""
        yield piece
    if waiting:
        yield _text(waiting)


def _tag(source: str, opens: int, found: re.Match[str]) -> tuple[Tag, int]:
    """The tag that begins at `opens`, and where the text goes on."""
    raw, begin = found["third"] is not None, found.end()
    if source.startswith("!--", begin):
        end = re.compile(r"--(~?)\}\}").search(source, begin + 3)
    elif source.startswith("!", begin):
        end = re.compile(r"(~?)\}\}").search(source, begin)
    else:
        end = re.compile(r"\}(~?)\}\}" if raw else r"(~?)\}\}").search(source, begin)
    if end is None:
        raise error_at(source, opens, f"{source[opens:begin]} is not closed by {'}}}' if raw else '}}'}")
    inner = source[begin : end.start()].strip()
    return Tag(inner, opens, found["left"] is not None, bool(end[1]), raw), end.end()


def _take_white_space(pieces: list[Piece], index: int, tag: Tag) -> None:
    before = pieces[index - 1] if index else None
    after = pieces[index + 1] if index + 1 < len(pieces) else None
    own_line = tag.is_line and _line_ends(before, index == 1) and _line_begins(after, index + 2 == len(pieces))
    if isinstance(after, Text):
        if tag.strips_right:
            after.text = after.text.lstrip()
        elif own_line:
            after.text = after.text[_REST_OF_LINE.match(after.text).end() :]  # type: ignore[union-attr]  # matches ""
    if isinstance(before, Text):
        if tag.strips_left:
            before.text = before.text.rstrip()
        elif own_line:
            before.text = before.text.rstrip(" \t")


def _line_ends(before: Piece | None, is_first: bool) -> bool:
    """Whether what stands before a tag leaves it the beginning of a line."""
    if not isinstance(before, Text):
        return before is None
    kept = before.written.rstrip()
    return "\n" in before.written[len(kept) :] or (is_first and not kept)


def _line_begins(after: Piece | None, is_last: bool) -> bool:
    """Whether nothing more stands on the line of a tag."""
    if not isinstance(after, Text):
        return after is None
    kept = after.written.lstrip()
    return "\n" in after.written[: len(after.written) - len(kept)] or (is_last and not kept)
