"""POSIX permission decisions, pure: mode bits and identities in, MAY_* bits or a refusal out.

The squash layer needs only the owner's and the superuser's column; `granted` is the whole table, and `refuse_changes`
the rules of SETATTR, for the layer that tells users apart. Supplementary groups count as the group; the superuser may
execute a regular file only where some execute bit is set, as Linux has it (generic_permission).
"""

from __future__ import annotations

import errno
import stat

from nfsd.vfs.failures import failure
from nfsd.vfs.interface import MAY_EXECUTE, MAY_READ, MAY_WRITE, NOW, Caller, Changes

SET_ID_BITS = stat.S_ISUID | stat.S_ISGID
SPECIAL_BITS = SET_ID_BITS | stat.S_ISVTX


def superuser_access(mode: int) -> int:
    """What uid 0 may: everything, but run only what somebody may run."""
    if stat.S_ISDIR(mode) or mode & 0o111:
        return MAY_READ | MAY_WRITE | MAY_EXECUTE
    return MAY_READ | MAY_WRITE


def granted(mode: int, ids: tuple[int, int], caller: Caller) -> int:
    """The MAY_* bits of a caller on a file of that owner and group. Only the first class that fits counts: an owner
    with fewer rights than others has fewer rights."""
    uid, gid, groups = caller
    if uid == 0:
        return superuser_access(mode)
    if uid == ids[0]:
        return mode >> 6 & 7
    if ids[1] == gid or ids[1] in groups:
        return mode >> 3 & 7
    return mode & 7


def in_group(caller: Caller, gid: int) -> bool:
    """Whether the caller is a member of that group, or the superuser."""
    return gid == caller.gid or caller.uid == 0 or gid in caller.groups


def refuse_changes(ids: tuple[int, int], may: int, caller: Caller, changes: Changes) -> None:
    """What an ordinary user may not change of a file of that owner and group (setattr_prepare of Linux). `may`: his
    MAY_* bits. EPERM: it takes the owner; EACCES: it takes the right to write.

    A size is the owner's to change whatever the mode: he may have opened the file before (RFC 1813 section 4.4). Both
    times to "now" takes the right to write; one alone, or a time of one's own, the owner, but that a truncation
    touches mtime.
    """
    _mode, uid, gid, size, atime_ns, mtime_ns = changes
    if caller.uid == ids[0]:
        foreign = uid not in (None, ids[0]) or (gid not in (None, ids[1]) and not in_group(caller, gid))
        if foreign:
            raise failure(errno.EPERM)
        return
    if uid is not None or gid is not None or changes.mode is not None:
        raise failure(errno.EPERM)
    touches = (atime_ns, mtime_ns) == (NOW, NOW) or (size is not None and (atime_ns, mtime_ns) == (None, NOW))
    if not touches and (atime_ns, mtime_ns) != (None, None):
        raise failure(errno.EPERM)
    if not may & MAY_WRITE:
        raise failure(errno.EACCES)


def without_set_id(mode: int, member: bool = True) -> int:
    """What a write or a change of owner by an ordinary user leaves of the permission bits of what is no directory.

    Setgid without group execute is no privilege (it once meant mandatory locking) and stays, as in Linux'
    setattr_should_drop_sgid; but not for who is no `member` of the file's group.
    """
    mode &= ~stat.S_ISUID
    if mode & stat.S_IXGRP or not member:
        mode &= ~stat.S_ISGID
    return mode
