"""Counting what a volume holds while it is used: a walk in small steps, and each file counted once, as it was at the
beginning.

Who comes first to a file says what it was when the count began: the walk that finds it, or an operation that is about
to change, move or remove it (the quota layer calls `saw` before it acts). Whatever comes later for the same inode
number is not counted: not a further name, not another walk of a directory that was moved, not a new file that was
given the number. So the sum is the volume at the beginning, however the steps and the operations are mixed; what the
operations did since is the ledger's own arithmetic.

The rule: `take` runs in a thread and touches the disk only; everything else is the loop's. A directory that an
operation moved is walked again where it is now (`moved`), since the walk may have come too late at the one place and
too early at the other. What the host does to the tree meanwhile is counted before or after, or missed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from nfsd.vfs.interface import Attributes
from nfsd.vfs.search import Path, open_directory

STEP_ENTRIES_MAX = 256
"""Entries a step looks at: about a millisecond, for which the event loop may have to wait (one interpreter lock)."""

MOVED_DIRECTORIES_MAX = 1024
"""Moved directories remembered for one step; more, and the whole tree is walked again."""

SHORTAGES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))
"""Of the process or the host: they pass."""

_ELSEWHERE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
"""A directory was moved or removed before the walk came to it."""


def charge(st: Attributes) -> int:
    """What a file costs, in bytes: files their length, holes included, symlinks their target's; directories nothing."""
    return st.st_size if stat.S_IFMT(st.st_mode) in (stat.S_IFREG, stat.S_IFLNK) else 0


class Seen(NamedTuple):
    fileid: int
    size: int


class _Open(NamedTuple):
    fd: int
    path: Path
    entries: Iterator[os.DirEntry[str]]


class Walk:
    """A walk of a tree by steps. Blocking, for a thread; one step at a time. No symlink is followed and no other file
    system entered."""

    def __init__(self, root: str | bytes | os.PathLike[str]) -> None:
        """OSError when `root` is no directory that can be read."""
        self._root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._device = os.fstat(self._root_fd).st_dev
        self._to_do: list[Path] = [()]
        self._open: _Open | None = None
        self._found: list[Seen] = []
        self.unread: tuple[Path, OSError] | None = None
        """A directory that the disk or its mode does not let us read. The walk passes over it."""

    @property
    def done(self) -> bool:
        return self._open is None and not self._to_do

    def step(self, entries_max: int) -> list[Seen]:
        """The next entries, at most so many. OSError, one of `SHORTAGES`: called again, it goes on where it was."""
        found = self._found
        for _ in range(entries_max):
            if self._open is None:
                if not self._to_do:
                    break
                self._open = self._entered(self._to_do[-1])
                self._to_do.pop()
                continue
            try:
                entry = next(self._open.entries, None)
                st = None if entry is None else entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._pass_over(self._open.path, error)
                self._leave()
                continue
            if entry is None or st is None:
                self._leave()
                continue
            if st.st_dev != self._device:
                continue
            found.append(Seen(st.st_ino, charge(st)))
            if stat.S_ISDIR(st.st_mode):
                self._to_do.append((*self._open.path, os.fsencode(entry.name)))
        self._found = []
        return found

    def again(self, paths: list[Path]) -> None:
        """Walk these, too."""
        self._to_do.extend(paths)

    def _entered(self, path: Path) -> _Open | None:
        try:
            fd = open_directory(self._root_fd, path)
            try:
                return _Open(fd, path, os.scandir(fd))
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            if error.errno in SHORTAGES:
                raise
            if error.errno not in _ELSEWHERE:
                self._pass_over(path, error)
            return None

    def _pass_over(self, path: Path, error: OSError) -> None:
        if self.unread is None:
            self.unread = (path, error)

    def _leave(self) -> None:
        if self._open is not None:
            self._open.entries.close()  # type: ignore[attr-defined]  # typeshed's name for what scandir returns is private
            os.close(self._open.fd)
            self._open = None

    def close(self) -> None:
        """Not while a step runs. Safe to call twice."""
        self._leave()
        self._to_do.clear()
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1


class Recount:
    """One count: `bytes` and `files` are what was found so far of what was there at its beginning."""

    def __init__(self, root: str | bytes | os.PathLike[str]) -> None:
        """Nothing may be under way in the volume that is not in its ledger yet. OSError as `Walk`."""
        self.bytes = self.files = 0
        self._walk = Walk(root)
        self._seen: dict[int, int] = {}  # inode numbers, 64 to an entry: they are dealt out densely
        self._moved: dict[int, Path] = {}

    @property
    def done(self) -> bool:
        return self._walk.done and not self._moved

    @property
    def unread(self) -> tuple[Path, OSError] | None:
        """See `Walk.unread`."""
        return self._walk.unread

    def take(self, entries_max: int = STEP_ENTRIES_MAX) -> list[Seen]:
        """In a thread, one at a time: the next part of the tree, for `merge`."""
        return self._walk.step(entries_max)

    def merge(self, found: list[Seen]) -> None:
        """After each `take`, on the loop."""
        for fileid, size in found:
            self.saw(fileid, size)
        if self._moved:
            self._walk.again(list(self._moved.values()))
            self._moved.clear()

    def saw(self, fileid: int, size: int) -> None:
        """That file is there, and had this size since the beginning: it counts, unless it was seen before."""
        if self._mark(fileid):
            self.bytes += size
            self.files += 1

    def born(self, fileid: int) -> None:
        """That file was not there at the beginning."""
        self._mark(fileid)

    def moved(self, fileid: int, path: Path | None) -> None:
        """A directory is at another place now; None: it is not known where."""
        if path is None or len(self._moved) >= MOVED_DIRECTORIES_MAX:
            fileid, path = 0, ()
        self._moved[fileid] = path  # moved once more before the walk comes to it: the last place is enough

    def _mark(self, fileid: int) -> bool:
        """Whether it is new."""
        word, bit = fileid >> 6, 1 << (fileid & 63)
        mask = self._seen.get(word, 0)
        if mask & bit:
            return False
        self._seen[word] = mask | bit
        return True

    def close(self) -> None:
        """Not while `take` runs. Safe to call twice."""
        self._walk.close()


def measure(root: str | bytes | os.PathLike[str]) -> tuple[int, int]:
    """(bytes, files) below a directory; blocking, for a thread. OSError when it cannot be read."""
    count = Recount(root)
    try:
        while not count.done:
            count.merge(count.take())
        return count.bytes, count.files
    finally:
        count.close()
