"""The generation of a file: which life of its inode number this is, from the birth time (statx(2)).

An inode number is used again as soon as its file is gone; a handle with the number alone would then open somebody
else's file. The birth time tells the lives apart, and every file system with handles worth the name stores it.
Asked once for each file that becomes known (about 1 microsecond): Python has no statx before 3.15, hence ctypes.
"""

from __future__ import annotations

import ctypes
import os
import struct
import zlib

_AT_SYMLINK_NOFOLLOW = 0x100
_AT_EMPTY_PATH = 0x1000
_STATX_BTIME = 0x800
_MASK_OFFSET, _INO_OFFSET, _BTIME_OFFSET, _BTIME_END = 0, 32, 80, 92  # struct statx, linux/stat.h

_libc = ctypes.CDLL(None, use_errno=True)
_statx = _libc.statx
_statx.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
_statx.restype = ctypes.c_int
_buffer = ctypes.create_string_buffer(256)
_address = ctypes.addressof(_buffer)
_view = memoryview(_buffer).cast("B")
_uint32 = struct.Struct("=I").unpack_from
_uint64 = struct.Struct("=Q").unpack_from


def _ask(fd: int, name: bytes, flags: int) -> tuple[int, int]:
    # One buffer for all: only the event loop's thread asks.
    if _statx(fd, name, flags, _STATX_BTIME, _address) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)
    fileid: int = _uint64(_view, _INO_OFFSET)[0]
    if not _uint32(_view, _MASK_OFFSET)[0] & _STATX_BTIME:
        return fileid, 0
    return fileid, zlib.crc32(_view[_BTIME_OFFSET:_BTIME_END])


def of_name(directory_fd: int, name: bytes) -> tuple[int, int]:
    """(inode number, generation) of a directory entry, symlinks not followed.

    Compare the number with the one you mean: the entry may be another file by now. The generation is 0 where the file
    system keeps no birth time; a used-again number is then not noticed.
    """
    return _ask(directory_fd, name, _AT_SYMLINK_NOFOLLOW)


def of_descriptor(fd: int) -> int:
    """The generation of an open file."""
    return _ask(fd, b"", _AT_EMPTY_PATH)[1]
