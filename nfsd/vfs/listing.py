"""Directory listings whose cookies hold: across other people's changes, evictions and restarts of the server.

A cookie is a 63-bit hash of the entry's name, and entries are listed in the order of their cookies: so "what comes
after this cookie" needs no memory of what was listed before, and creating or removing other entries moves nothing.
Two names with one hash (a chance of 5e-10 among 100,000) share a place that is never split: all but the last carry the
cookie just before, so a reader that stops between them is given the whole group again rather than losing half of it.

`Snapshot` is one directory; our own changes are made to it in place, so that `rm -r` of a large directory, which
reads and removes by turns, costs linear time. `Listings` keeps the latest snapshots and throws one away when the
directory's mtime is not the one our own last change left.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from itertools import count
from typing import TYPE_CHECKING

from nfsd.vfs.interface import Entry

if TYPE_CHECKING:
    from nfsd.vfs.nodes import LocalNode

COOKIE_SELF, COOKIE_PARENT = 1, 2
_COOKIE_FIRST = 4
"""The smallest hash; one below it is the cookie of a group's first members, and must not be `..`'s."""

ENTRIES_KEPT_MAX = 500_000
"""Entries in all cached snapshots of a volume (about 200 bytes each)."""

YOUNG_NS = 50_000_000
"""A directory changed more recently than this may change again within the same tick of the kernel's file clock (1 to
10 ms before Linux 6.13), and its mtime would not tell: what was read from it is doubtful."""

DOUBT_NS = 1_000_000_000
"""How long a doubtful snapshot is used before the directory is read again. Not at once: while a client empties a
directory it is always young, and reading all of it for each page would make that quadratic."""

_MERGE_ONE_BY_ONE_MAX = 32

_serials = count()

Hash = Callable[[bytes], int]


def name_hash(name: bytes) -> int:
    """4 .. 2**63-1, the same in every process: the order of listings is part of the cookies handed out."""
    value = int.from_bytes(blake2b(name, digest_size=8).digest(), "big") >> 1
    return value if value >= _COOKIE_FIRST else value + _COOKIE_FIRST


class Snapshot:
    """The entries of one directory without `.` and `..`, ordered by (hash, name)."""

    __slots__ = ("_added", "_files", "_hash", "_removed", "_rows", "doubtful_until_ns", "mtime_ns", "serial")

    def __init__(self, entries: Iterable[tuple[bytes, int]], mtime_ns: int, name_hash: Hash = name_hash) -> None:
        self._hash = name_hash
        self._files = dict(entries)  # name -> fileid: what is there; rows of names not in it are dead
        self._rows = sorted((name_hash(name), name) for name in self._files)
        self._added: list[tuple[int, bytes]] = []
        self._removed: set[bytes] = set()  # names whose rows are dead
        self.mtime_ns = mtime_ns
        self.serial = next(_serials)  # no two snapshots of a process have the same
        now = time.time_ns()
        self.doubtful_until_ns = now + DOUBT_NS if now - mtime_ns < YOUNG_NS else 0

    def __len__(self) -> int:
        return len(self._files)

    def add(self, name: bytes, fileid: int) -> None:
        """A name was created, or now means another file."""
        if name not in self._files:
            if name in self._removed:
                self._removed.discard(name)
            else:
                self._added.append((self._hash(name), name))
        self._files[name] = fileid

    def remove(self, name: bytes) -> None:
        """A name was taken away. Its row stays until half of all are dead: a removal costs no shift of the rest."""
        if self._files.pop(name, None) is None:
            return
        self._removed.add(name)
        if len(self._removed) > 64 and len(self._removed) * 2 > len(self._rows) + len(self._added):
            self._merge()
            self._rows = [row for row in self._rows if row[1] in self._files]
            self._removed.clear()

    def _merge(self) -> None:
        if len(self._added) <= _MERGE_ONE_BY_ONE_MAX:
            for row in self._added:
                insort(self._rows, row)
        else:
            self._rows.extend(self._added)
            self._rows.sort()
        self._added.clear()

    def after(self, cookie: int) -> Iterator[Entry]:
        """The entries behind that place. To be consumed before the snapshot changes: in one turn of the loop."""
        if self._added:
            self._merge()
        rows, files = self._rows, self._files
        # Hashes above the cookie; a group's early members hand out hash-1, which leads to the group's start.
        index = bisect_left(rows, (cookie + 1, b""))
        while index < len(rows):
            place, name = rows[index]
            index += 1
            fileid = files.get(name)
            if fileid is not None:
                yield Entry(place - 1 if self._group_continues(index, place) else place, name, fileid)

    def _group_continues(self, index: int, place: int) -> bool:
        if index >= len(self._rows) or self._rows[index][0] != place:
            return False
        end = bisect_right(self._rows, (place, b"\xff" * 256), index)
        return any(name in self._files for _place, name in self._rows[index:end])


class Listings:
    """The latest snapshots by directory node, least recently used first out."""

    def __init__(self, entries_max: int = ENTRIES_KEPT_MAX) -> None:
        self._entries_max = entries_max
        self._entries = 0
        self._kept: OrderedDict[LocalNode, tuple[Snapshot, int]] = OrderedDict()  # and its size when it was counted
        self.get = self._kept.get

    def fresh(self, directory: LocalNode, mtime_ns: int) -> Snapshot | None:
        """The snapshot, if the directory still is as our own last change left it."""
        kept = self._kept.get(directory)
        if kept is None:
            return None
        doubtful_until_ns = kept[0].doubtful_until_ns
        if kept[0].mtime_ns != mtime_ns or (doubtful_until_ns and time.time_ns() >= doubtful_until_ns):
            self.drop(directory)
            return None
        self._kept.move_to_end(directory)
        return kept[0]

    def keep(self, directory: LocalNode, snapshot: Snapshot) -> None:
        """Remember it, unless it is larger than all that may be remembered."""
        self.drop(directory)
        if len(snapshot) > self._entries_max:
            return
        self._kept[directory] = (snapshot, len(snapshot))
        self._entries += len(snapshot)
        while self._entries > self._entries_max:
            _node, (_snapshot, size) = self._kept.popitem(last=False)
            self._entries -= size

    def drop(self, directory: LocalNode) -> None:
        """Forget it."""
        kept = self._kept.pop(directory, None)
        if kept is not None:
            self._entries -= kept[1]

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self._entries = 0
