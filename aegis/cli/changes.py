"""What became of a workspace's files, from the gateway's own record of it: `task diff`. Pure: events in, values out.

The rule to know: reads and writes are told as spans, when they end, under the name the file had when they began. So
what is written to a name that is not there any more belongs to the name it was moved to, or to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

Event = dict[str, Any]
Data = dict[str, Any]

MAKING: Final = ("create", "mkdir", "symlink", "mknod")
MOVES_MAX: Final = 100  # followed from one name


@dataclass(slots=True)
class Change:
    """What became of one path: A added, M changed, D deleted, R renamed from `from_path`."""

    status: str
    path: str
    iteration: int | None
    bytes_written: int = 0
    from_path: str | None = None


class Files:
    """Built by `take`-ing the gateway's events in their order."""

    def __init__(self) -> None:
        self._found: dict[str, Change] = {}
        self._moved: dict[str, str] = {}  # a name that is not there any more -> what it became
        self._gone: set[str] = set()  # made and removed again

    def changes(self) -> list[Change]:
        """Sorted by path. What came and went is not in it."""
        return sorted(self._found.values(), key=lambda change: change.path)

    def take(self, kind: str, data: Data, number: int | None) -> None:
        """`kind` without its `file.`; `number`: of the iteration. Reads and refusals change nothing."""
        path = str(data.get("path", "?"))
        if kind in MAKING:
            self._make(path, number)
        elif kind == "link":
            self._make(str(data.get("to_path", "?")), number)
        elif kind in ("write", "setattr"):
            self._write(path, data.get("bytes"), number)
        elif kind in ("remove", "rmdir"):
            self._remove(path, number)
        elif kind == "rename":
            self._rename(path, str(data.get("to_path", "?")), number)

    def _make(self, path: str, number: int | None) -> None:
        before = self._found.get(path)
        self._moved.pop(path, None)
        self._gone.discard(path)
        self._found[path] = Change("M" if before is not None and before.status == "D" else "A", path, number)

    def _write(self, path: str, count: Any, number: int | None) -> None:
        for _ in range(MOVES_MAX):
            if path not in self._moved:
                break
            path = self._moved[path]
        change = self._found.setdefault(path, Change("M", path, number)) if path not in self._gone else None
        if change is not None and change.status != "D":
            change.bytes_written += count if isinstance(count, int) else 0
            change.iteration = number

    def _remove(self, path: str, number: int | None) -> None:
        before = self._found.pop(path, None)
        if before is not None and before.status == "A":
            self._gone.add(path)
        elif before is not None and before.from_path is not None:
            self._found[before.from_path] = Change("D", before.from_path, number)
        else:
            self._found[path] = Change("D", path, number)

    def _rename(self, path: str, to_path: str, number: int | None) -> None:
        before, over = self._found.pop(path, None), self._found.get(to_path)
        self._moved[path] = to_path
        self._moved.pop(to_path, None)
        self._gone.discard(to_path)
        written = before.bytes_written if before is not None else 0
        if before is not None and before.status == "A":
            replaced = over is not None and over.status in ("M", "D")
            self._found[to_path] = Change("M" if replaced else "A", to_path, number, written)
        else:
            from_path = before.from_path if before is not None and before.from_path else path
            self._found[to_path] = Change("R", to_path, number, written, from_path)
            if from_path == to_path:  # back where it was
                del self._found[to_path]
                if written:
                    self._found[to_path] = Change("M", to_path, number, written)


def changes(events: Iterable[Event], iteration: int | None = None) -> list[Change]:
    """All of an execution's events, or only what one iteration did."""
    files = Files()
    for number, kind, data in _file_events(events):
        if iteration is None or number == iteration:
            files.take(kind, data, number)
    return files.changes()


def _file_events(events: Iterable[Event]) -> Iterator[tuple[int | None, str, Data]]:
    number: int | None = None
    for event in events:
        if event["kind"] == "iteration.started":
            number = event.get("iteration")
        room, _, kind = str(event["kind"]).partition(".")
        if room == "file":
            yield number, kind, event.get("data") or {}
