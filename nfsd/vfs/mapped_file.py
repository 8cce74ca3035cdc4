"""A small file of fixed size that is mapped into memory, to keep what must survive a SIGKILL and costs no system call.

Its blocks are allocated beforehand: a write to a mapped hole on a full disk is a SIGBUS. It is locked: one process at a
time has it. Nothing is ever flushed: after the end of the host it may be as old as the kernel's write-back lets it be.
"""

from __future__ import annotations

import fcntl
import mmap
import os


class MappedFile:
    """`map` is its content. `close` when it is done with, which needs every view of `map` released."""

    def __init__(self, path: str | bytes | os.PathLike[str], size: int) -> None:
        """Open the file, made when missing. OSError: it cannot be made (no room for `size` bytes), or another process
        has it (BlockingIOError)."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(self._fd, 0, size)
            self.map = mmap.mmap(self._fd, size)
        except BaseException:
            os.close(self._fd)
            raise

    def close(self) -> None:
        """Safe to call twice."""
        if self._fd >= 0:
            self.map.close()
            os.close(self._fd)
            self._fd = -1
