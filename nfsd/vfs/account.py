"""The last figures of a ledger, kept in a file for the process after this one.

A figure that was set survives a SIGKILL (`MappedFile`); after the end of the host it may be as old as the kernel's
write-back lets it be (30 s). It is an estimate for who starts, never the truth: that is counted. Native byte order; a
file that is not one of ours says nothing.

    8 "nfsdacc1", 0 until the figures mean something | 8 bytes | 8 files, -1: not kept
"""

from __future__ import annotations

import os
import sys

from nfsd.vfs.mapped_file import MappedFile

_MAGIC = int.from_bytes(b"nfsdacc1", sys.byteorder)
_FILE_BYTES = 24
_NOT_KEPT = -1


class KeptAccount:
    """One process at a time has it; `close` when it is done with."""

    def __init__(self, path: str | bytes | os.PathLike[str]) -> None:
        """Open the file, made when missing. OSError: it cannot be made, or another process has it (BlockingIOError)."""
        self._file = MappedFile(path, _FILE_BYTES)
        self._words = memoryview(self._file.map).cast("q")

    def read(self) -> tuple[int | None, int | None]:
        """(bytes, files) as they were last set; None: not known."""
        magic, size, files = self._words
        if magic != _MAGIC or size < 0:
            return None, None
        return size, files if files >= 0 else None

    def set(self, size: int, files: int | None) -> None:
        words = self._words
        words[1] = size
        words[2] = _NOT_KEPT if files is None else files
        words[0] = _MAGIC  # last: a file that was just made is not ours before

    def close(self) -> None:
        """Safe to call twice."""
        self._words.release()
        self._file.close()
