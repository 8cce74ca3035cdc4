"""Set the times of a file, "now" meaning the file system's own now: utimensat(2), futimens(3), UTIME_NOW, UTIME_OMIT.

Python's os.utime has only both times now, or both given. To read a clock and give its value is not the same: since
Linux 6.13 files are stamped finer than any clock a process can read cheaply (multigrain timestamps), and a file that
was touched last would look older than one written just before. The kernel alone keeps that order.
"""

from __future__ import annotations

import ctypes
import os
import struct

from nfsd.vfs.interface import NOW

_AT_SYMLINK_NOFOLLOW = 0x100
_UTIME_NOW, _UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
_SECOND_NS = 10**9

_pack = struct.Struct("@llll").pack  # struct timespec[2]
_libc = ctypes.CDLL(None, use_errno=True)
_futimens = _libc.futimens
_futimens.argtypes = [ctypes.c_int, ctypes.c_char_p]
_futimens.restype = ctypes.c_int
_utimensat = _libc.utimensat
_utimensat.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
_utimensat.restype = ctypes.c_int


def set_times(fd: int, name: bytes | None, atime_ns: int | None, mtime_ns: int | None) -> None:
    """Of the open file `fd`; with a name, of that entry of the directory `fd`, a symlink itself and not its target.

    Nanoseconds since 1970, NOW, or None to leave a time as it is. `OSError` as from utimensat(2).
    """
    times = _pack(*_timespec(atime_ns), *_timespec(mtime_ns))
    if _futimens(fd, times) if name is None else _utimensat(fd, name, times, _AT_SYMLINK_NOFOLLOW):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)


def _timespec(time_ns: int | None) -> tuple[int, int]:
    if time_ns is None:
        return 0, _UTIME_OMIT
    if time_ns == NOW:
        return 0, _UTIME_NOW
    return divmod(time_ns, _SECOND_NS)
