"""What is wrong with a document: every problem of it at once, each with its place, what was found and what is wanted.

A `DocumentError` is an answer, not a crash: its text is what a person reads on a terminal (the line and a caret under
it), its `problems` are what the API gives to a program. Values and lines that may hold a secret are never in either.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aegis.errors import Refused

PROBLEMS_MAX = 100  # a file of one million mistakes is one mistake: the wrong file
FOUND_CHARACTERS_MAX = 80
LINE_CHARACTERS_MAX = 160

Path = tuple[str | int, ...]


def show_path(path: Path) -> str:
    """`("spec", "volumes", 0, "name")` as people write it: `spec.volumes[0].name`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text or "(the document)"


def shorten(value: object, *, characters_max: int = FOUND_CHARACTERS_MAX) -> str:
    """A value as one short line, safe to print: control characters are escaped."""
    text = value if isinstance(value, str) else str(value)
    text = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    return text if len(text) <= characters_max else text[: characters_max - 3] + "..."


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be; None when nothing is near."""
    candidates = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(word.lower()[:100], candidates, n=1, cutoff=0.6)
    return candidates[matches[0]] if matches else None


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `line` and `column` count from 1; both are 0 for what has no place in the file (an environment
    variable, a file that could not be read). `secret`: the source line is not to be shown."""

    path: str
    line: int
    column: int
    found: str
    wanted: str
    hint: str = ""
    secret: bool = False

    def as_json(self) -> dict[str, str | int]:
        return {
            "path": self.path,
            "line": self.line,
            "column": self.column,
            "found": self.found,
            "wanted": self.wanted,
            "hint": self.hint,
        }


@dataclass(frozen=True, slots=True)
class Note:
    """Something a reader of the document should know and that stops nothing: a key that has no effect here."""

    path: str
    line: int
    text: str


class DocumentError(Refused):
    """A document that cannot be used. `problems` are in the order of the file, at most `PROBLEMS_MAX` of them."""

    code = "invalid_document"

    def __init__(self, source: str, problems: Sequence[Problem], text: str = "") -> None:
        self.source = source
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column))[:PROBLEMS_MAX])
        self.left_off = len(problems) - len(self.problems)
        super().__init__(_pretty(source, self.problems, self.left_off, text))

    def as_json(self) -> dict[str, object]:
        """What the API puts beside `code` in its problem document."""
        return {"source": self.source, "problems": [problem.as_json() for problem in self.problems]}


class ManifestError(DocumentError):
    code = "invalid_manifest"


class ConfigError(DocumentError):
    code = "invalid_config"


def _pretty(source: str, problems: Sequence[Problem], left_off: int, text: str) -> str:
    count = len(problems) + left_off
    lines = [f"{source}: {count} problem{'' if count == 1 else 's'}"]
    document = text.splitlines()
    for problem in problems:
        lines.append("")
        lines.extend(_pretty_one(source, problem, document))
    if left_off:
        lines += ["", f"and {left_off} more"]
    return "\n".join(lines)


def _pretty_one(source: str, problem: Problem, document: Sequence[str]) -> Iterable[str]:
    place = f"{source}:{problem.line}:{problem.column}" if problem.line else source
    yield f"{place}: {problem.path}: found {problem.found}, wanted {problem.wanted}"
    if 0 < problem.line <= len(document) and not problem.secret:
        yield from _excerpt(problem, document[problem.line - 1])
    if problem.hint:
        yield f"    hint: {problem.hint}"


def _excerpt(problem: Problem, line: str) -> Iterable[str]:
    number = f"{problem.line:>5} | "
    # One character in, one column out, whatever it was: the caret must stand under what it points at.
    shown = "".join(character if character.isprintable() else " " for character in line[:LINE_CHARACTERS_MAX])
    yield number + shown
    if problem.column - 1 <= len(shown):
        yield " " * (len(number) - 2) + "| " + " " * (problem.column - 1) + "^"
