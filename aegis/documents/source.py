"""YAML text to a tree with positions: one document, bounded in size, depth, and what aliases make of it.

PyYAML's parser gives events; the tree is built from them here, with SafeLoader's reading of scalars (YAML 1.1). The
composer is not used: it recurses, so that a file of brackets ends it with RecursionError, it has no limits ("billion
laughs": ten lines of aliases that mean ten thousand million values), and it keeps the last of two equal keys silently.

The rule to know: whatever text comes in, the only exception that comes out is `DocumentError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

import yaml
from yaml.constructor import SafeConstructor
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.resolver import Resolver

from aegis.documents.nodes import Key, Mapping, Node, Scalar, Sequence
from aegis.documents.problems import DocumentError, Problem, shorten, show_path

SIZE_CHARACTERS_MAX = 256 * 1024  # the largest manifest seen in the wild has 30 KiB
DEPTH_MAX = 40
NODES_MAX = 50_000  # counting what an alias stands for, each time it is used

_KINDS = {
    "tag:yaml.org,2002:str": "string",
    "tag:yaml.org,2002:int": "integer",
    "tag:yaml.org,2002:float": "number",
    "tag:yaml.org,2002:bool": "boolean",
    "tag:yaml.org,2002:null": "null",
    "tag:yaml.org,2002:timestamp": "timestamp",
}
_COLLECTION_TAGS = {None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
_MERGE = "<<"


class _Stop(Exception):
    """Reading cannot go on; the problem is in the list."""


def read_bytes(data: bytes, source: str) -> str:
    """UTF-8 (with or without a byte order mark) to text; DocumentError with line and column of the first other byte."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        problem = Problem(
            path="(the document)",
            line=before.count(b"\n") + 1,
            column=error.start - (before.rfind(b"\n") + 1) + 1,
            found=f"the byte 0x{data[error.start]:02x}",
            wanted="UTF-8 text",
            hint="save the file as UTF-8",
        )
        raise DocumentError(source, [problem]) from None


def parse(text: str, source: str) -> tuple[Node, list[Problem]]:
    """The document's tree, and the problems that do not stop reading it (duplicate keys, values YAML refuses).

    DocumentError when there is no tree to go on with: not YAML, too large, too deep, no document or two.
    """
    if len(text) > SIZE_CHARACTERS_MAX:
        found = f"{len(text)} characters"
        raise DocumentError(source, [Problem("(the document)", 1, 1, found, f"at most {SIZE_CHARACTERS_MAX}")])
    builder = _Builder()
    try:
        root = builder.build(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        raise DocumentError(source, [*builder.problems, _syntax_problem(error)], text) from None
    except yaml.reader.ReaderError as error:
        raise DocumentError(source, [_character_problem(error, text)], text) from None
    except _Stop:
        raise DocumentError(source, builder.problems, text) from None
    except (ValueError, OverflowError) as error:
        # PyYAML hands the digits of "\UFFFFFFFF" to chr() and of "%YAML 1e99..." to int() unchecked.
        problem = Problem("(the document)", 1, 1, shorten(error), "YAML")
        raise DocumentError(source, [*builder.problems, problem], text) from None
    return root, builder.problems


def _syntax_problem(error: yaml.MarkedYAMLError) -> Problem:
    line, column = 1, 1
    for mark in (error.context_mark, error.problem_mark):
        if isinstance(mark, yaml.Mark):
            line, column = mark.line + 1, mark.column + 1
    found = shorten(error.problem or "something that is not YAML", characters_max=200).removeprefix("found ")
    hint = shorten(error.context or "", characters_max=200)
    if "'\\t'" in found:
        hint = "YAML is indented with spaces, never with tabs"
    return Problem("(the document)", line, column, found, "YAML", hint)


def _character_problem(error: yaml.reader.ReaderError, text: str) -> Problem:
    position = min(max(int(error.position), 0), len(text))
    before = text[:position]
    return Problem(
        path="(the document)",
        line=before.count("\n") + 1,
        column=position - (before.rfind("\n") + 1) + 1,
        found=f"the character {shorten(repr(text[position : position + 1]))}",
        wanted="printable characters",
        hint='write it escaped in double quotes ("\\x07")',
    )


@dataclass(slots=True)
class _Open:
    """A collection under construction. `weight`: nodes in it so far, an alias counted as what it stands for."""

    node: Mapping | Sequence
    anchor: str | None
    weight: int = 1
    key: Key | None = None
    merges: list[Node] = field(default_factory=list)


class _Builder:
    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._total = 0
        self._root: Node | None = None
        self._documents = 0
        self._resolver = Resolver()
        self._constructor = SafeConstructor()

    def build(self, events: Iterator[Event]) -> Node:
        for event in events:
            self._take(event)
        if self._root is None:
            self._stop(1, 1, "an empty file", "a YAML document")
        return self._root

    def _take(self, event: Event) -> None:
        assert event.start_mark is not None  # the parser marks every event
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        match event:
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._stop(line, column, 'a second document ("---")', "one document in a file")
            case ScalarEvent():
                self._add(self._scalar(event, line, column), line, column, anchor=event.anchor)
            case AliasEvent():
                self._alias(str(event.anchor), line, column)
            case MappingStartEvent() | SequenceStartEvent():
                self._open(event, line, column)
            case MappingEndEvent() | SequenceEndEvent():
                self._close()
            case StreamEndEvent():
                pass

    def _open(self, event: MappingStartEvent | SequenceStartEvent, line: int, column: int) -> None:
        if event.tag not in _COLLECTION_TAGS:
            self._problem(line, column, f"the tag {shorten(event.tag)}", "a plain mapping or list")
        if len(self._stack) >= DEPTH_MAX:
            self._stop(line, column, f"more than {DEPTH_MAX} levels", "a document that is less deep")
        node = Mapping(line, column) if isinstance(event, MappingStartEvent) else Sequence(line, column)
        self._stack.append(_Open(node, event.anchor))

    def _close(self) -> None:
        done = self._stack.pop()
        for merged in done.merges:
            self._merge(done.node, merged)
        self._add(done.node, done.node.line, done.node.column, weight=done.weight, anchor=done.anchor)

    def _alias(self, name: str, line: int, column: int) -> None:
        if name not in self._anchors:
            inside = any(collection.anchor == name for collection in self._stack)
            found = f"*{shorten(name)} inside of what it names" if inside else f"*{shorten(name)}"
            self._stop(line, column, found, "an anchor that was defined before")
        node, weight = self._anchors[name]
        self._add(node, line, column, weight=weight, added=weight)

    def _add(
        self, node: Node, line: int, column: int, *, weight: int = 1, added: int = 1, anchor: str | None = None
    ) -> None:
        """Put a finished node where it belongs. `weight`: nodes it stands for; `added`: those not yet counted (a
        collection's members were counted as they came, an alias brings all it stands for at once)."""
        self._total += added
        if self._total > NODES_MAX:
            self._stop(line, column, f"more than {NODES_MAX} values, aliases expanded", "a smaller document")
        if anchor:
            self._anchors[anchor] = (node, weight)
        if not self._stack:
            self._root = node
            return
        parent = self._stack[-1]
        parent.weight += weight
        if isinstance(parent.node, Sequence):
            parent.node.items.append(node)
        elif parent.key is None:
            parent.key = self._key(node, line, column)
        else:
            self._put(parent, parent.node, parent.key, node)
            parent.key = None

    def _put(self, parent: _Open, mapping: Mapping, key: Key, node: Node) -> None:
        if key.text == _MERGE:
            parent.merges.append(node)
        elif key.text in mapping.entries:
            first = mapping.entries[key.text][0]
            found = f"the key {shorten(key.text)} twice"
            self._problem(key.line, key.column, found, "every key once", f"the first is in line {first.line}")
        else:
            mapping.entries[key.text] = (key, node)

    def _key(self, node: Node, line: int, column: int) -> Key:
        if not isinstance(node, Scalar):
            self._stop(line, column, f"{node.describe()} as a key", "a name")
        return Key(node.text, line, column)

    def _merge(self, into: Mapping | Sequence, merged: Node) -> None:
        """`<<`: keys of the merged mapping that are not there yet; of several, the first to have a key gives it."""
        sources = merged.items if isinstance(merged, Sequence) else [merged]
        for source in sources:
            if not isinstance(source, Mapping) or not isinstance(into, Mapping):
                self._problem(merged.line, merged.column, merged.describe(), "a mapping to merge (<<: *anchor)")
                continue
            for name, entry in source.entries.items():
                into.entries.setdefault(name, entry)

    def _scalar(self, event: ScalarEvent, line: int, column: int) -> Scalar:
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._resolver.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        if tag in ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:value"):  # "<<" and "=": words like any other
            tag = "tag:yaml.org,2002:str"
        if "\0" in event.value or any("\ud800" <= character <= "\udfff" for character in event.value):
            # Only escapes ("\\0", "\\uD800") bring these in; neither can stand in a path, a variable or UTF-8.
            self._problem(line, column, "a NUL or half a surrogate pair", "text without them")
            return Scalar("", "", "string", line, column)
        if tag not in _KINDS:
            self._problem(line, column, f"the tag {shorten(tag)}", "a plain value")
            tag = "tag:yaml.org,2002:str"
        try:
            value = self._constructor.construct_object(yaml.ScalarNode(tag, event.value))
        except (yaml.YAMLError, ValueError, OverflowError, KeyError, AttributeError, IndexError):
            # "!!int x", "0x_", "2001-99-99", a number of 5,000 digits: it looks like one and is none.
            kind = _KINDS[tag]
            article = "an" if kind == "integer" else "a"
            self._problem(line, column, f'"{shorten(event.value)}"', f"{article} {kind}", "quote it if text is meant")
            return Scalar(event.value, event.value, "string", line, column)
        return Scalar(event.value, value, _KINDS[tag], line, column)

    def _problem(self, line: int, column: int, found: str, wanted: str, hint: str = "") -> None:
        path = _show_stack(self._stack)
        self.problems.append(Problem(path, line, column, found, wanted, hint))

    def _stop(self, line: int, column: int, found: str, wanted: str) -> NoReturn:
        self._problem(line, column, found, wanted)
        raise _Stop


def _show_stack(stack: list[_Open]) -> str:
    """Where in the document the builder is, as a path."""
    path: list[str | int] = []
    for collection in stack:
        if isinstance(collection.node, Sequence):
            path.append(len(collection.node.items))
        elif collection.key is not None:
            path.append(collection.key.text)
    return show_path(tuple(path))
