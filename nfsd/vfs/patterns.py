"""Path patterns: which paths of a volume a policy means.

A pattern is an absolute path from the volume's root, component by component: `*`, `?` and `[...]` match within one
component, as fnmatch(3) has them (a leading dot is nothing special); `**` matches any number of components, none
included, so `/src/**` is `/src` and everything below it. Everything is bytes. Compiled once.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

_Component = Callable[[bytes], object] | None
"""Matches one component; None is `**`."""

PATTERN_BYTES_MAX = 4096


def _compile_component(part: bytes) -> _Component:
    if part == b"**":
        return None
    return re.compile(fnmatch.translate(part.decode("latin-1")).encode("latin-1"), re.DOTALL).match


def split(path: bytes) -> tuple[bytes, ...]:
    """The components of a path from the root; the root has none."""
    return tuple(path.split(b"/")) if path else ()


class Pattern:
    """One compiled pattern. ValueError when it is none: relative, with "..", empty components, or too long."""

    def __init__(self, text: str | bytes) -> None:
        raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        parts = raw.strip(b"/").split(b"/") if raw.strip(b"/") else []
        if not raw.startswith(b"/") or len(raw) > PATTERN_BYTES_MAX or any(p in (b"", b".", b"..") for p in parts):
            raise ValueError(f"path pattern {text!r}: wanted an absolute path from the volume's root, like /src/**")
        self.covers_below = bool(parts) and parts[-1] == b"**"
        self._parts: Sequence[_Component] = [_compile_component(part) for part in parts]

    def matches(self, path: Sequence[bytes]) -> bool:
        """Whether the whole path is meant."""
        return self._states(path, whole=True)

    def may_match_below(self, path: Sequence[bytes]) -> bool:
        """Whether something below this directory can be meant: then it must be possible to walk through it."""
        return self._states(path, whole=False)

    def _states(self, path: Sequence[bytes], whole: bool) -> bool:
        # All positions in the pattern at once: linear in path times pattern, whatever the number of `**`.
        states = self._skip({0})
        for name in path:
            following = set()
            for state in states:
                if state < len(self._parts):
                    part = self._parts[state]
                    if part is None:
                        following.add(state)
                    elif part(name):
                        following.add(state + 1)
            states = self._skip(following)
            if not states:
                return False
        return len(self._parts) in states if whole else any(state < len(self._parts) for state in states)

    def _skip(self, states: Iterable[int]) -> set[int]:
        reached = set(states)
        for state in sorted(reached):
            while state < len(self._parts) and self._parts[state] is None:
                state += 1
                reached.add(state)
        return reached


class PatternSet:
    """Any of several patterns; None in the place of patterns means all paths."""

    def __init__(self, patterns: Iterable[str | bytes] | None) -> None:
        self._patterns = None if patterns is None else [Pattern(pattern) for pattern in patterns]
        self.unlimited = self._patterns is None
        # Paths repeat: a decision costs about 2 microseconds, its memory 0.1.
        self.matches = lru_cache(4096)(self._matches)
        self.may_match_below = lru_cache(4096)(self._may_match_below)

    def _matches(self, path: tuple[bytes, ...]) -> bool:
        return self._patterns is None or any(pattern.matches(path) for pattern in self._patterns)

    def _may_match_below(self, path: tuple[bytes, ...]) -> bool:
        return self._patterns is None or any(pattern.may_match_below(path) for pattern in self._patterns)

    def covers_below(self, path: tuple[bytes, ...]) -> bool:
        """Whether the path and everything that is or will be below it is meant, whatever it is called."""
        if self._patterns is None:
            return True
        return any(pattern.covers_below and pattern.matches(path) for pattern in self._patterns)
