"""Whether what a template names exists: its paths against the shape of the values it will be given.

A shape is None for one value, a mapping of names, or a list of one shape for a list of such. So a misspelt name is
found when a manifest is deployed, and not by a model that gets half a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Union

from aegis.domain.templates.errors import error_at
from aegis.domain.templates.parse import Block, Node, Path, Put, Template

Shape = Union[None, Mapping[str, "Shape"], list["Shape"]]  # noqa: UP007 - `|` does not take a name that comes later


def check(template: Template, shape: Mapping[str, Shape]) -> None:
    """TemplateError names the first path that leads nowhere, and the known name that is nearest."""
    _nodes(template, template.nodes, [shape])


def _nodes(template: Template, nodes: Sequence[Node], scopes: list[Shape]) -> None:
    for node in nodes:
        if isinstance(node, Put):
            _shape_of(template, node.path, scopes)
        elif isinstance(node, Block):
            _block(template, node, scopes)


def _block(template: Template, block: Block, scopes: list[Shape]) -> None:
    shape = _shape_of(template, block.path, scopes)
    inner = scopes
    if block.kind == "each":
        if not isinstance(shape, list):
            raise error_at(template.source, block.path.offset, f"{block.path.text} is no list, wanted one for #each")
        inner = [*scopes, shape[0]]
    _nodes(template, block.body, inner)
    _nodes(template, block.otherwise, scopes)


def _shape_of(template: Template, path: Path, scopes: list[Shape]) -> Shape:
    if path.data is not None and path.data != "root":
        if len(scopes) == 1 + path.up and path.data in ("index", "first", "last", "key"):
            raise error_at(template.source, path.offset, f"@{path.data} is known within {{{{#each}}}} only")
        return None
    if path.up >= len(scopes):
        raise error_at(template.source, path.offset, f"{path.text} leads out of the template's values")
    shape = scopes[0] if path.data == "root" else scopes[len(scopes) - 1 - path.up]
    for name in path.names:
        shape = _below(template, path, shape, name, scopes)
    return shape


def _below(template: Template, path: Path, shape: Shape, name: str, scopes: list[Shape]) -> Shape:
    if isinstance(shape, list):
        if name == "length":
            return None
        if name.isdecimal():
            return shape[0]
        raise error_at(template.source, path.offset, f"{path.text}: a list has no {name}; go through it with #each")
    known = list(shape) if shape is not None else []
    if shape is not None and name in shape:
        return shape[name]
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    stem = path.text[: path.text.rfind(name)] if path.text.endswith(name) else ""
    hint = f", did you mean {stem}{near[0]}?" if near else f"; there are: {', '.join(known)}" if known else ""
    outer = scopes[0]
    if len(scopes) > 1 and isinstance(outer, Mapping) and name in outer:
        hint = f"; outside of the #each it is {'../' * (len(scopes) - 1)}{name}"
    raise error_at(template.source, path.offset, f"there is no {path.text}{hint}")
