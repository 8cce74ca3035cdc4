"""A YAML document as a tree that remembers where everything stood.

Scalars keep both what was written (`text`) and what YAML 1.1 made of it (`value`), because the two differ in ways that
hurt: `version: 3.10` is the number 3.1 and `mode: no` is False. Readers decide which of the two was meant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aegis.documents.problems import shorten


@dataclass(frozen=True, slots=True)
class Scalar:
    """`kind`: string, integer, number, boolean, null or timestamp. `untyped`: it comes from where everything is text
    (an environment variable), so a reader takes `text` as it wants it and does not complain about quotes."""

    text: str
    value: Any
    kind: str
    line: int
    column: int
    untyped: bool = False

    def describe(self) -> str:
        if self.kind == "null":
            return "nothing"
        if self.kind == "string":
            return f'"{shorten(self.text)}"'
        return f"the {self.kind} {shorten(self.text)}"


@dataclass(frozen=True, slots=True)
class Key:
    text: str
    line: int
    column: int


@dataclass(slots=True)
class Mapping:
    line: int
    column: int
    entries: dict[str, tuple[Key, Node]] = field(default_factory=dict)

    def describe(self) -> str:
        return f"a mapping with {len(self.entries)} keys" if self.entries else "an empty mapping"


@dataclass(slots=True)
class Sequence:
    line: int
    column: int
    items: list[Node] = field(default_factory=list)

    def describe(self) -> str:
        return f"a list of {len(self.items)}" if self.items else "an empty list"


Node: TypeAlias = Scalar | Mapping | Sequence


def is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.kind == "null"


def to_python(node: Node) -> Any:
    """The plain Python value, for what is passed on as it is (a JSON Schema). Recurses at most `source.DEPTH_MAX`."""
    if isinstance(node, Mapping):
        return {name: to_python(value) for name, (_, value) in node.entries.items()}
    if isinstance(node, Sequence):
        return [to_python(item) for item in node.items]
    return node.text if node.kind == "timestamp" else node.value
