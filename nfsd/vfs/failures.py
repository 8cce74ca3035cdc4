"""`OSError`s the way the kernel makes them, for what is decided here and not by a system call."""

from __future__ import annotations

import os


def failure(code: int, name: bytes | None = None) -> OSError:
    """The `OSError` of that errno: `raise failure(errno.ESTALE)`."""
    return OSError(code, os.strerror(code), name)
