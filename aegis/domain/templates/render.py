"""A template with its values: what is not there is empty, and nothing is ever escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aegis.domain.templates.parse import Block, Node, Path, Put, Template

RENDERED_CHARACTERS_MAX: Final = 1_000_000
STEPS_MAX: Final = 100_000
CUT: Final = "\n[... the rest of the template left out: it comes to too much text ...]"


@dataclass(frozen=True, slots=True)
class _Scope:
    """One value of `this`, and of the `@` names; `outer` is what `../` leads to."""

    this: Any
    data: Mapping[str, Any]
    outer: _Scope | None = None


class _Full(Exception):
    """A bound is met."""


class _Text:
    """What has been made so far: each in each is small to write and may be endless to make."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._room = RENDERED_CHARACTERS_MAX
        self._steps = STEPS_MAX

    def add(self, part: str) -> None:
        self.parts.append(part[: self._room])
        self._room -= len(part)
        if self._room < 0:
            raise _Full

    def step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise _Full


def render(template: Template, values: Mapping[str, Any]) -> str:
    """The text. Values are what JSON can hold; they go in as they are and are not templates themselves. What would be
    longer than the bound ends with a note that says so."""
    text = _Text()
    try:
        _nodes(template.nodes, _Scope(values, {"root": values}), text)
    except _Full:
        text.parts.append(CUT)
    return "".join(text.parts)


def _nodes(nodes: Sequence[Node], scope: _Scope, text: _Text) -> None:
    for node in nodes:
        text.step()
        if isinstance(node, str):
            text.add(node)
        elif isinstance(node, Put):
            text.add(_shown(_value(node.path, scope)))
        elif node.kind == "if":
            _nodes(node.body if _holds(_value(node.path, scope)) else node.otherwise, scope, text)
        else:
            _each(node, scope, text)


def _each(block: Block, scope: _Scope, text: _Text) -> None:
    value = _value(block.path, scope)
    items = list(value.items()) if isinstance(value, Mapping) else list(enumerate(value)) if _is_list(value) else []
    for index, (key, item) in enumerate(items):
        data = {**scope.data, "index": index, "key": key, "first": index == 0, "last": index == len(items) - 1}
        text.step()
        _nodes(block.body, _Scope(item, data, scope), text)
    if not items:
        _nodes(block.otherwise, scope, text)


def _value(path: Path, scope: _Scope) -> Any:
    here: _Scope | None = scope
    for _ in range(path.up):
        here = here.outer if here is not None else None
    if here is None:
        return None
    value = here.this if path.data is None else here.data.get(path.data)
    for name in path.names:
        value = _below(value, name)
    return value


def _below(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(name)
    if _is_list(value):
        if name == "length":
            return len(value)
        if name.isdecimal() and int(name) < len(value):
            return value[int(name)]
    return None


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _holds(value: Any) -> bool:
    """Handlebars' own: false, nothing, "", 0 and an empty list do not hold; an empty object does."""
    return isinstance(value, Mapping) or bool(value)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
