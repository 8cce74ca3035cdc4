"""What a volume holds, in net bytes, and what it may hold: the account that all attachments of a volume share.

Counted is the logical size: of files their length (holes included), of symlinks their target's; a file with several
names once; directories nothing. Python state of the event loop's thread, so a claim is atomic.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from functools import partial

from nfsd.vfs.failures import failure
from nfsd.vfs.interface import Node

_RECOUNTS_MAX = 3


def measure(root: str | bytes | os.PathLike[str]) -> tuple[int, int]:
    """(bytes, files) below a directory, by descriptors and without following symlinks; blocking, for a thread."""
    total = files = 0
    seen: set[int] = set()
    for _path, directories, names, fd in os.fwalk(root, follow_symlinks=False):
        for name in (*names, *directories):  # os.fwalk lists symlinks to directories among the directories
            try:
                st = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if st.st_nlink > 1 and not stat.S_ISDIR(st.st_mode):
                if st.st_ino in seen:
                    continue
                seen.add(st.st_ino)
            files += 1
            if stat.S_ISREG(st.st_mode) or stat.S_ISLNK(st.st_mode):
                total += st.st_size
    return total, files


class Cut:
    """A file whose size is changing in a thread: what the ledger holds for it, and how many changes are under way."""

    __slots__ = ("accounted", "pending")

    def __init__(self, accounted: int) -> None:
        self.accounted = accounted
        self.pending = 0


class Ledger:
    """`bytes_used`, `files_used` and their limits (None: no limit). `files_used` is kept only with a limit of files."""

    def __init__(
        self, bytes_max: int, files_max: int | None = None, *, bytes_used: int = 0, files_used: int = 0
    ) -> None:
        self.bytes_max = bytes_max
        self.files_max = files_max
        self.bytes_used = bytes_used
        self.files_used = files_used
        self.cuts: dict[Node, Cut] = {}
        """Of all attachments: two stacks on one backend see the same nodes. Bounded by the calls in the pool."""
        self._changes = 0

    def claim(self, size: int, files: int = 0) -> None:
        """Take this much, or raise ENOSPC and take nothing. What frees space or costs nothing always passes, also
        when a limit was lowered below what is used."""
        if size > 0 and self.bytes_used + size > self.bytes_max:
            raise failure(errno.ENOSPC)
        if files > 0 and self.files_max is not None and self.files_used + files > self.files_max:
            raise failure(errno.ENOSPC)
        self.settle(size, files)

    def settle(self, size: int, files: int = 0) -> None:
        """Correct the account by this much: what was claimed and not used, or has happened anyway."""
        self._changes += 1
        self.bytes_used += size
        if self.files_max is not None:
            self.files_used += files

    async def recount(self, root: str | bytes | os.PathLike[str]) -> None:
        """Set the account to what is really below `root`: at attach, and after the host wrote there.

        Counted in a thread. Exact when nothing changes the volume meanwhile; else counted again, three times at most,
        and then off by no more than what changed during the last count. OSError when `root` cannot be read.
        """
        loop = asyncio.get_running_loop()
        for _ in range(_RECOUNTS_MAX):
            changes = self._changes
            used_before = (self.bytes_used, self.files_used)
            counted = await loop.run_in_executor(None, partial(measure, root))
            if changes == self._changes:
                break
        # What the operations did during the last count is added: most of it lay behind the walker.
        drift = (self.bytes_used - used_before[0], self.files_used - used_before[1])
        self.bytes_used = counted[0] + drift[0]
        self.files_used = counted[1] + drift[1]
