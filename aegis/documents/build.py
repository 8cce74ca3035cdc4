"""From what a document said to the internal model, and back to where each value of the model came from.

The model's own limits (pydantic) are checked here once more for every value, and a violation is reported at the place
in the document the value came from, not at the model's name for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from aegis.documents.problems import Path, show_path
from aegis.documents.table import Reading, Said, Table

ModelT = TypeVar("ModelT", bound=BaseModel)
MASK = "********"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `explain`: the internal path, its value as text (secrets masked), and where it came from."""

    path: str
    value: str
    where: str


def build(model: type[ModelT], table: Table, reading: Reading) -> ModelT | None:
    """The model, or None with the reasons added to `reading.problems`."""
    try:
        return model.model_validate(_assemble(reading))
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=False):
            _report(model, table, reading, detail)
    return None


def _assemble(reading: Reading) -> dict[str, Any]:
    tree: dict[Any, Any] = {}
    for path, said in reading.said.items():
        if str(path[0]).startswith("~"):
            continue
        here = tree
        for part in path[:-1]:
            here = here.setdefault(part, {})
        here[path[-1]] = said.value
    plain: dict[str, Any] = _plain(tree)
    return plain


def _plain(tree: Any) -> Any:
    """Dictionaries with numbers for keys are lists; a hole (an item that could not be read) stays in its place."""
    if not isinstance(tree, dict):
        return tree
    if tree and all(isinstance(key, int) for key in tree):
        return [_plain(tree.get(index, {})) for index in range(max(tree) + 1)]
    return {key: _plain(value) for key, value in tree.items()}


def _report(model: type[BaseModel], table: Table, reading: Reading, detail: ErrorDetails) -> None:
    target = _real_target(reading, detail["loc"])
    if detail["type"] in ("union_tag_not_found", "union_tag_invalid"):
        target = (*target, "type")
    if any(target[: len(failed)] == failed[: len(target)] for failed in reading.failed if failed):
        return  # it, or something in it, has been reported as what it is: unreadable
    if detail["type"] == "extra_forbidden" and target not in reading.said:  # a section of one key or more
        target = next((path for path in reading.said if path[: len(target)] == target), target)
    if detail["type"] == "missing" or target not in reading.said:
        if reading.problems and not table.paths_for(target):
            return  # a whole section: what is wrong in it has been said
        path = _say(table, reading, target)
        if any(path[: len(said.path)] == said.path for said in reading.said.values() if len(said.path) > len(path)):
            return
        reading.missing(path, "a value")
        return
    said = reading.said[target]
    if detail["type"] == "extra_forbidden":
        reading.problem(said, "no such key here", found=f"the key {said.path[-1]}")
        return
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    reading.problem(said, message[:1].lower() + message[1:])


def _real_target(reading: Reading, location: tuple[str | int, ...]) -> Path:
    """pydantic puts the tag of a union into the location (`validators[0].regex.pattern`); the document has none."""
    target: Path = ()
    for index, part in enumerate(location):
        tag = reading.get((*target, "type")) if index and isinstance(location[index - 1], int) else None
        if tag is None or part != tag:
            target = (*target, part)
    return target


def _say(table: Table, reading: Reading, target: Path) -> Path:
    """How the document would have said it, in the dialect it speaks."""
    ways = table.paths_for(target)
    other = reading.unspoken()
    ways.sort(key=lambda way: way[0].dialect is other)
    return ways[0][1] if ways else target


def explain(model: BaseModel, reading: Reading, defaults: Mapping[str, str] | None = None) -> tuple[Row, ...]:
    """Every value of the model and where it came from. `defaults`: for a path, `[]` for any
    index, what stands behind a value nobody said."""
    rows = []
    for path, value in _leaves(model.model_dump(mode="python")):
        said = reading.said.get(path) or _around(reading, path)
        anywhere = re.sub(r"\[\d+\]", "[]", show_path(path))
        where = said.where if said else (defaults or {}).get(anywhere, "default")
        secret = said is not None and said.secret
        rows.append(Row(show_path(path), MASK if secret else _text(value), where))
    return tuple(rows)


def _around(reading: Reading, path: Path) -> Said | None:
    for length in range(len(path) - 1, 0, -1):
        if path[:length] in reading.said:
            return reading.said[path[:length]]
    return None


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, str(key)))
    elif isinstance(value, list | tuple) and value and isinstance(value[0], dict):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    else:
        yield path, value


_TEXTS: dict[type, Callable[[Any], str]] = {
    SecretStr: lambda _: MASK,
    str: lambda value: value,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "-",
}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple | set | frozenset):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    return _TEXTS.get(type(value), str)(value)
