"""Attributes that are not the kernel's own object: of the memory backend, and of files whose mode or owner is kept
beside.

Same shape as `os.stat_result` as far as a file server reads it (`interface.Attributes`).
"""

from __future__ import annotations

from typing import NamedTuple

from nfsd.vfs.interface import Attributes


class FileAttributes(NamedTuple):
    """Sizes in bytes, blocks of 512 bytes, times in nanoseconds since 1970."""

    st_mode: int
    st_ino: int
    st_nlink: int
    st_uid: int
    st_gid: int
    st_size: int
    st_blocks: int
    st_atime_ns: int
    st_mtime_ns: int
    st_ctime_ns: int
    st_rdev: int = 0


def as_kept(attributes: Attributes, mode: int, ids: tuple[int, int]) -> FileAttributes:
    """The same attributes with another st_mode, uid and gid."""
    return FileAttributes(
        mode,
        attributes.st_ino,
        attributes.st_nlink,
        ids[0],
        ids[1],
        attributes.st_size,
        attributes.st_blocks,
        attributes.st_atime_ns,
        attributes.st_mtime_ns,
        attributes.st_ctime_ns,
    )
