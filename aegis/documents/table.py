"""A document's dialects as a table: which path means what of ours, and how its value is read.

One row, one key: `spec.security.resources.cpu` -> `resources.cpu_quota`, millicores. Both dialects of a document are
rows of one table, so a file may mix them; what is said twice must be the same. Unknown keys, `explain` and the
documentation come from the same rows. `[]` in a path is every item of a list, `*` any key of a mapping; both stand at
the same places in the target. A target that begins with `~` is for the table's own use and never reaches the model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aegis.documents.nodes import Key, Mapping, Node, Scalar, is_null
from aegis.documents.nodes import Sequence as ListNode
from aegis.documents.problems import Note, Path, Problem, nearest, shorten, show_path
from aegis.documents.readers import Mistake, Mistakes, Reader

Pattern = tuple[str, ...]


class Dialect(StrEnum):
    """`page`: the specification page's words; `documents`: the current documents'; `both`: theirs are the same."""

    PAGE = "page"
    DOCUMENTS = "documents"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Field:
    path: str
    target: str  # "" : accepted and without effect, `about` says why
    reader: Reader
    about: str = ""
    dialect: Dialect = Dialect.BOTH
    secret: bool = False
    key: Callable[[str], None] | None = None  # checks the name that stands for the last `*`; raises Mistake
    noted: bool = False  # tell the user that it has no effect

    @property
    def pattern(self) -> Pattern:
        return split(self.path)


def split(path: str) -> Pattern:
    """`spec.volumes[].name` -> ("spec", "volumes", "[]", "name")."""
    return tuple(re.findall(r"\[\]|[^.\[\]]+", path))


def to_target(pattern: Pattern, captures: Sequence[str | int]) -> Path:
    """The pattern with its `[]` and `*` filled in, in order."""
    remaining = iter(captures)
    return tuple(next(remaining) if part in ("[]", "*") else part for part in pattern)


class Table:
    """The rows, indexed for the walk. Two rows with one path are a mistake of ours."""

    def __init__(self, fields: Iterable[Field]) -> None:
        self.fields = tuple(fields)
        self._by_pattern = {row.pattern: row for row in self.fields}
        assert len(self._by_pattern) == len(self.fields), "one path, two rows"
        self._children: dict[Pattern, list[str]] = {}
        for pattern in self._by_pattern:
            for length in range(len(pattern)):
                known = self._children.setdefault(pattern[:length], [])
                if pattern[length] not in known:
                    known.append(pattern[length])

    def field(self, pattern: Pattern) -> Field | None:
        return self._by_pattern.get(pattern)

    def children(self, pattern: Pattern) -> Sequence[str]:
        return self._children.get(pattern, ())

    def paths_for(self, target: Path) -> list[tuple[Field, Path]]:
        """Every way to say `target`, with indices and names filled in: what a message about a missing value names."""
        found = []
        for row in self.fields:
            captures = _captures(split(row.target), target)
            if captures is not None:
                found.append((row, to_target(row.pattern, captures)))
        return found

    def elsewhere(self, key: str) -> list[str]:
        """Paths that end in `key`: somebody knew the word and not the place."""
        return [row.path for row in self.fields if row.pattern[-1] == key]


def _captures(pattern: Pattern, path: Path) -> list[str | int] | None:
    if len(pattern) != len(path) or not pattern:
        return None
    captures: list[str | int] = []
    for part, actual in zip(pattern, path, strict=True):
        if (part == "[]" and isinstance(actual, int)) or (part == "*" and isinstance(actual, str)):
            captures.append(actual)
        elif part != actual:
            return None
    return captures


@dataclass(frozen=True, slots=True)
class Said:
    """A value and who said it. `where` is for people: `agent.yaml:12 spec.resources.cpu_quota`."""

    value: Any
    path: Path
    node: Node
    where: str
    secret: bool = False


@dataclass(slots=True)
class Reading:
    """Everything one document said, by target, with what was wrong with it."""

    source: str
    said: dict[Path, Said] = field(default_factory=dict)
    failed: set[Path] = field(default_factory=set)  # said, but unusable: not to be called missing as well
    places: dict[Path, Node] = field(default_factory=dict)  # every node of the document by its path
    problems: list[Problem] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    dialects: dict[Dialect, int] = field(default_factory=dict)
    secret_lines: set[int] = field(default_factory=set)

    def get(self, target: Path, default: Any = None) -> Any:
        said = self.said.get(target)
        return default if said is None else said.value

    def knows(self, target: Path) -> bool:
        """Said, even if what was said cannot be used."""
        return target in self.said or target in self.failed

    def indices(self, target: Path) -> list[int]:
        """The indices of a list of which something was said, in order."""
        length = len(target)
        known = self.said.keys() | self.failed
        found = {path[length] for path in known if path[:length] == target and len(path) > length}
        return sorted(index for index in found if isinstance(index, int))

    def unspoken(self) -> Dialect | None:
        """The dialect the document does not speak; None when it speaks both alike, or neither."""
        page, documents = self.dialects.get(Dialect.PAGE, 0), self.dialects.get(Dialect.DOCUMENTS, 0)
        if page == documents:
            return None
        return Dialect.PAGE if documents > page else Dialect.DOCUMENTS

    def problem(self, said: Said, wanted: str, hint: str = "", *, found: str = "") -> None:
        """A problem with a value that could be read."""
        shown = found or ("(not shown)" if said.secret else said.node.describe())
        self._add(said.path, said.node, shown, wanted, hint, secret=said.secret)

    def missing(self, path: Path, wanted: str, hint: str = "") -> None:
        """A problem with what is not there: its place is that of the nearest thing around it."""
        around = path
        while around and around not in self.places:
            around = around[:-1]
        node = self.places.get(around)
        self._add(path, node, "nothing", wanted, hint)

    def nothing_there(self, path: Path, node: Node, wanted: str) -> None:
        """A problem with a key that has nothing after it, where that must not be as if it were not there."""
        self._add(path, node, "nothing", wanted)

    def put(self, target: Path, said: Said) -> None:
        """Take a value; the same thing said twice differently is refused, naming both places."""
        first = self.said.get(target)
        if first is None:
            self.said[target] = said
        elif first.value != said.value:
            wanted = (
                f"{shorten(_shown(first))}, as {first.where} says" if not first.secret else f"what {first.where} says"
            )
            self.problem(said, wanted, "the same thing is said twice and differently; say it once")

    def derive(self, target: Path, value: Any, said: Said) -> None:
        """A value that follows from another one."""
        where = said.where if said.where.startswith("derived ") else f"derived from {said.where}"
        self.said[target] = Said(value, said.path, said.node, where, said.secret)

    def _add(
        self, path: Path, node: Node | None, found: str, wanted: str, hint: str = "", *, secret: bool = False
    ) -> None:
        line, column = (node.line, node.column) if node is not None else (0, 0)
        self.problems.append(Problem(show_path(path), line, column, found, wanted, hint, secret))


def _shown(said: Said) -> object:
    return said.node.text if isinstance(said.node, Scalar) else said.value


Resolve = Callable[[Scalar], tuple[Scalar, bool]]


def _as_written(scalar: Scalar) -> tuple[Scalar, bool]:
    return scalar, False


class Walk:
    """One walk over one document. `resolve` may replace a scalar before it is read (`env:NAME`) and says whether what
    came is secret; it raises Mistake. `guarded`: the line of an unknown key is not shown, since it may be a misspelt
    one that holds a secret."""

    def __init__(self, table: Table, source: str, *, resolve: Resolve = _as_written, guarded: bool = False) -> None:
        self.table = table
        self._guarded = guarded
        self.reading = Reading(source)
        self._resolve = resolve

    def read(self, root: Node) -> Reading:
        self._visit(root, (), (), ())
        return self.reading

    def read_outside(self, row: Field, text: str, where: str) -> None:
        """A value from outside of the document (an environment variable): it wins over what the document says."""
        scalar = Scalar(text, text, "string", 0, 0, untyped=True)
        target = to_target(split(row.target), ())
        self.reading.said.pop(target, None)
        self._read(row, scalar, (where,), (), where)

    def _visit(self, node: Node, pattern: Pattern, path: Path, captures: tuple[str | int, ...]) -> None:
        self.reading.places[path] = node
        row = self.table.field(pattern)
        children = self.table.children(pattern)
        if row is not None and not (children and isinstance(node, Mapping)):
            self._read(row, node, path, captures, f"{self.reading.source}:{node.line} {show_path(path)}")
        elif isinstance(node, Mapping) and any(child != "[]" for child in children):
            self._mapping(node, pattern, path, captures)
        elif isinstance(node, ListNode) and "[]" in children:
            self._list(node, pattern, path, captures)
        elif not is_null(node):
            wanted = "a list" if list(children) == ["[]"] else "a mapping"
            self.reading._add(path, node, node.describe(), wanted)

    def _mapping(self, node: Mapping, pattern: Pattern, path: Path, captures: tuple[str | int, ...]) -> None:
        children = self.table.children(pattern)
        for name, (key, value) in node.entries.items():
            if name in children:
                self._visit(value, (*pattern, name), (*path, name), captures)
            elif "*" in children:
                self._named(value, (*pattern, "*"), (*path, name), (*captures, name))
            else:
                self._unknown(key, pattern, path)

    def _named(self, node: Node, pattern: Pattern, path: Path, captures: tuple[str | int, ...]) -> None:
        if self.table.field(pattern) is None and (is_null(node) or (isinstance(node, Mapping) and not node.entries)):
            self.reading._add(path, node, node.describe(), "an entry")
        else:
            self._visit(node, pattern, path, captures)

    def _list(self, node: ListNode, pattern: Pattern, path: Path, captures: tuple[str | int, ...]) -> None:
        for index, item in enumerate(node.items):
            if is_null(item) or (isinstance(item, Mapping) and not item.entries):
                self.reading._add((*path, index), item, item.describe(), "an item")
            else:
                self._visit(item, (*pattern, "[]"), (*path, index), (*captures, index))

    def _read(self, row: Field, node: Node, path: Path, captures: Sequence[str | int], where: str) -> None:
        if is_null(node):
            return  # `key:` and nothing after it: as if the line were not there
        target = to_target(split(row.target), captures) if row.target else ()
        secret = row.secret
        if secret:
            self.reading.secret_lines.add(node.line)
        try:
            if row.key is not None and captures:
                row.key(str(captures[-1]))
            node, came_secret = self._resolved(node)
            secret = secret or came_secret
            value = row.reader.read(node)
        except Mistake as mistake:
            self._mistake(mistake, node, path, secret)
            self.reading.failed.add(target)
            return
        except Mistakes as mistakes:
            for one in mistakes.all_of_them:
                self._mistake(one, node, path, secret)
            self.reading.failed.add(target)
            return
        self._count(row)
        if row.noted:
            self.reading.notes.append(Note(show_path(path), node.line, row.about))
        if target:
            self.reading.put(target, Said(value, path, node, where, secret))

    def _resolved(self, node: Node) -> tuple[Node, bool]:
        if isinstance(node, Scalar):
            return self._resolve(node)
        if not isinstance(node, ListNode):
            return node, False
        resolved = [self._resolve(item) if isinstance(item, Scalar) else (item, False) for item in node.items]
        items = [item for item, _ in resolved]
        return ListNode(node.line, node.column, items), any(secret for _, secret in resolved)

    def _mistake(self, mistake: Mistake, node: Node, path: Path, secret: bool) -> None:
        at = mistake.node or node
        place = (*path, mistake.index) if mistake.index >= 0 else path
        found = mistake.found or ("(not shown)" if secret else at.describe())
        self.reading._add(place, at, found, mistake.wanted, mistake.hint, secret=secret)

    def _count(self, row: Field) -> None:
        self.reading.dialects[row.dialect] = self.reading.dialects.get(row.dialect, 0) + 1

    def _unknown(self, key: Key, pattern: Pattern, path: Path) -> None:
        known = list(self.table.children(pattern))
        ours, theirs = self._by_dialect(known, pattern)
        near = nearest(key.text, ours) or nearest(key.text, theirs)
        hint = f"did you mean {near}?" if near else ""
        if not near:
            elsewhere = self.table.elsewhere(key.text)
            hint = f"did you mean {elsewhere[0]}?" if elsewhere else f"known here: {', '.join(sorted(known))}"
        problem = Problem(
            path=show_path((*path, key.text)),
            line=key.line,
            column=key.column,
            found=f"the unknown key {shorten(key.text)}",
            wanted=near or "a known key",
            hint=hint,
            secret=self._guarded,
        )
        self.reading.problems.append(problem)

    def _by_dialect(self, known: list[str], pattern: Pattern) -> tuple[list[str], list[str]]:
        """The words the document may use in the dialect it has spoken so far, and those of the other one only."""
        other = self.reading.unspoken()
        theirs = [word for word in known if other and self._only_in(other, (*pattern, word))]
        return [word for word in known if word not in theirs], theirs

    def _only_in(self, dialect: Dialect, pattern: Pattern) -> bool:
        rows = [row for row in self.table.fields if row.pattern[: len(pattern)] == pattern]
        return all(row.dialect is dialect for row in rows)
