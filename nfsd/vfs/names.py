"""What a name of a directory entry may be: one component, as bytes.

Names are bytes, never text: POSIX forbids "/" and NUL in them and nothing else, and clients send every other
byte. Every backend calls `check` before a name reaches a system call; that is what keeps "a/../../b" inside.
"""

from __future__ import annotations

import errno
import os

NAME_BYTES_MAX = 255
"""NAME_MAX of every file system Linux has; what PATHCONF answers."""

_NO_NAMES = frozenset((b"", b".", b".."))


def check(name: bytes) -> None:
    """Raise EINVAL for what is not one component, ENAMETOOLONG above 255 bytes."""
    if name in _NO_NAMES or b"/" in name or b"\0" in name:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
    if len(name) > NAME_BYTES_MAX:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), name[:32])
