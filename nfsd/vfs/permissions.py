"""POSIX permission decisions, pure: mode bits and identities in, MAY_* bits out.

The squash layer needs only the owner's and the superuser's column; `granted` is the whole table for identity
layers that tell users apart. Supplementary groups count as the group; the superuser may execute a regular file
only where some execute bit is set, as Linux has it (generic_permission).
"""

from __future__ import annotations

import stat
from collections.abc import Collection

from nfsd.vfs.interface import MAY_EXECUTE, MAY_READ, MAY_WRITE

SET_ID_BITS = stat.S_ISUID | stat.S_ISGID
SPECIAL_BITS = SET_ID_BITS | stat.S_ISVTX


def owner_access(mode: int) -> int:
    """The owner's rwx bits, 0..7: what `Node.owner_access` caches."""
    return mode >> 6 & 7


def superuser_access(mode: int) -> int:
    """What uid 0 may: everything, but run only what somebody may run."""
    if stat.S_ISDIR(mode) or mode & 0o111:
        return MAY_READ | MAY_WRITE | MAY_EXECUTE
    return MAY_READ | MAY_WRITE


def granted(mode: int, owner: int, group: int, uid: int, groups: Collection[int]) -> int:
    """The MAY_* bits of a caller. Only the first class that fits counts: an owner with fewer rights than others
    has fewer rights."""
    if uid == 0:
        return superuser_access(mode)
    if uid == owner:
        return mode >> 6 & 7
    if group in groups:
        return mode >> 3 & 7
    return mode & 7


def without_set_id(mode: int) -> int:
    """What a write or a change of owner by an ordinary user leaves of the permission bits of a regular file.

    Setgid without group execute is no privilege (it once meant mandatory locking) and stays, as in Linux'
    setattr_should_drop_sgid.
    """
    mode &= ~stat.S_ISUID
    if mode & stat.S_IXGRP:
        mode &= ~stat.S_ISGID
    return mode
