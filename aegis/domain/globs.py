"""Path patterns: `*`, `?`, `[...]` within one component, `**` for any number of components."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase


def matches(pattern: str, path: str) -> bool:
    """Whether the whole path matches; both are relative to the same root, `/`-separated."""
    return _matches(_split(pattern), _split(path))


def _split(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", "."))


def _matches(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Row by row, so that many `**` in a row stay cheap: `possible[n]` says that what was read of the pattern can match
    the path's first n components."""
    possible = [True] + [False] * len(path)
    for component in pattern:
        if component == "**":
            for n in range(len(path)):
                possible[n + 1] |= possible[n]
        else:
            possible = [False] + [possible[n] and fnmatchcase(name, component) for n, name in enumerate(path)]
    return possible[-1]
