"""True modes and owners beside the file: what the daemon's host must not, or cannot, store as it is.

The daemon is an ordinary user. `chmod 000` by a client would lock it out of its own file, setuid bits would make
programs on the host that run as the daemon, and it can give a file to nobody. So what a client set goes into the
extended attribute `user.nfsd.mode` (kept.py says how it is written), and the host's mode keeps the owner's rights and
loses setuid and setgid. Extended attributes follow rename and link.

The host's sticky bit says that there is something to look for: it means nothing on a regular file, and on a
directory only what is true anyway (the owner may delete). So a file without it costs no system call more, a `chmod`
on the host that clears it wins over what was kept beside, and a sticky directory somebody made on the host has no
attribute and is shown as it is. A file made for somebody else than the volume's owner is born with it.

Where extended attributes are not to be had (the file system has none; FIFOs, sockets, symbolic links) the table is
used.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from nfsd.vfs.kept import Kept, KeptTable
from nfsd.vfs.permissions import SET_ID_BITS, SPECIAL_BITS

if TYPE_CHECKING:
    from nfsd.vfs.nodes import LocalNode

ATTRIBUTE = b"user.nfsd.mode"
OWNER_ATTRIBUTE = b"user.nfsd.owner"
"""On the volume's root: whose the files without an owner of their own are."""

_NO_XATTR = frozenset((errno.ENOTSUP, errno.EPERM, errno.ENOSPC, errno.E2BIG))
"""EPERM: user attributes exist for regular files and directories only (xattr(7))."""

_OWNER_NEEDS = {stat.S_IFDIR: 0o700, stat.S_IFREG: 0o600}
"""FIFOs and sockets are never opened here, so their owner's rights are the client's affair alone."""


def host_mode(kind: int, mode: int, marked: bool = False) -> int:
    """The permission bits to set on the host for true ones: equal, or marked with the sticky bit."""
    needs = _OWNER_NEEDS.get(kind, 0)
    if mode & needs == needs and not mode & SPECIAL_BITS and not marked:
        return mode
    return (mode | needs | stat.S_ISVTX) & ~SET_ID_BITS


def place_of(directory_fd: int, name: bytes) -> bytes:
    """A path for calls that take no directory descriptor; do not let them follow the last component."""
    return b"/proc/self/fd/%d/%s" % (directory_fd, name)


class Sidecar:
    """Reads and writes what is kept. `where` is a descriptor of the file; else, to read, its `place_of`, and to write,
    the path in /proc of an O_PATH descriptor, which is to be followed."""

    def __init__(self, table: KeptTable) -> None:
        self.table = table

    def read(self, node: LocalNode, where: int | bytes) -> Kept | None:
        """What is kept beside a file whose host mode is marked, when the table has nothing; None: nothing."""
        if node.kind not in _OWNER_NEEDS:
            return None
        try:
            text = os.getxattr(where, ATTRIBUTE, follow_symlinks=isinstance(where, int))
            return Kept.parse(text.decode("ascii"))
        except (OSError, ValueError):
            return None  # ENODATA: the host's own sticky bit; anything else was not written by us

    def write(self, node: LocalNode, where: int | bytes, kept: Kept) -> bool:
        """Keep it; whether the file carries it itself. To be done before the host mode is changed: the marked mode
        alone would be shown."""
        if node.kind in _OWNER_NEEDS:
            try:
                os.setxattr(where, ATTRIBUTE, str(kept).encode())
            except OSError as error:
                if error.errno not in _NO_XATTR:
                    raise
            else:
                self.table.set(node, None)
                return True
        self.table.set(node, kept)
        return False

    def forget(self, node: LocalNode, where: int | bytes) -> None:
        """The host's mode is the true one again."""
        self.table.set(node, None)
        if node.kind in _OWNER_NEEDS:
            try:
                os.removexattr(where, ATTRIBUTE)
            except OSError:
                pass  # an attribute nobody looks at: the mark is gone

    def forget_node(self, node: LocalNode) -> None:
        """The file itself is gone, and an attribute with it."""
        self.table.set(node, None)

    def close(self) -> None:
        """Safe to call twice."""
        self.table.close()


def read_owner(root_fd: int) -> tuple[int, int] | None:
    """The volume's owner, if somebody has settled it."""
    try:
        uid, gid = os.getxattr(root_fd, OWNER_ATTRIBUTE).split()
        return int(uid), int(gid)
    except (OSError, ValueError):
        return None


def write_owner(root_fd: int, uid: int, gid: int) -> None:
    """Settle it. Where the file system has no extended attributes it holds as long as the process."""
    try:
        os.setxattr(root_fd, OWNER_ATTRIBUTE, b"%d %d" % (uid, gid))
    except OSError as error:
        if error.errno not in _NO_XATTR and error.errno != errno.EROFS:
            raise


def unlock(directory_fd: int, name: bytes, kind: int) -> bool:
    """Take the owner's rights back on a file the host closed to its own owner (mode 0444, 0555 ...), keeping its
    mode beside; False when that is not ours to do. The daemon acts for the owner, whom no mode keeps from writing.
    """
    needs = _OWNER_NEEDS.get(kind)
    if needs is None:
        return False
    fd = -1
    try:
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)
        st = os.fstat(fd)
        if stat.S_IFMT(st.st_mode) != kind or st.st_uid != os.geteuid() or st.st_mode & needs == needs:
            return False
        path = b"/proc/self/fd/%d" % fd
        mode = stat.S_IMODE(st.st_mode)
        # setxattr asks for write permission on the file, so the owner's rights come first; unmarked, to be seen as
        # plain until the attribute is there.
        os.chmod(path, mode | needs)
        if os.fsdecode(ATTRIBUTE) in os.listxattr(path):
            return True  # what is kept beside stays true
        os.setxattr(path, ATTRIBUTE, b"%o" % mode)
        os.chmod(path, host_mode(kind, mode))
        return True
    except OSError:
        return fd >= 0 and os.stat(fd).st_mode & needs == needs
    finally:
        if fd >= 0:
            os.close(fd)
