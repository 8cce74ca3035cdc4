"""True modes beside the file: permission bits that the daemon's host must not, or cannot, store as they are.

The daemon is an ordinary user. `chmod 000` by a client would lock it out of its own file, and setuid bits would make
programs on the host that run as the daemon. Such modes go into the extended attribute `user.nfsd.mode` (octal text),
and the host's mode keeps the owner's rights and loses setuid and setgid. Extended attributes follow rename and link.

The host's sticky bit says that there is a true mode to look for: it means nothing on a regular file, and on a
directory only what is true anyway (the owner may delete). So a file without it costs no system call more, a `chmod`
on the host that clears it wins over what was kept beside, and a sticky directory somebody made on the host has no
attribute and is shown as it is.

Where extended attributes are not to be had (the file system has none; FIFOs and sockets) the modes are in a table,
keyed by inode number and generation, kept in `meta` if the volume has such a directory, else lost with the process:
the file is then shown with its host mode.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from nfsd.vfs.permissions import SET_ID_BITS, SPECIAL_BITS

if TYPE_CHECKING:
    from nfsd.vfs.nodes import LocalNode

ATTRIBUTE = b"user.nfsd.mode"

_NO_XATTR = frozenset((errno.ENOTSUP, errno.EPERM, errno.ENOSPC, errno.E2BIG))
"""EPERM: user attributes exist for regular files and directories only (xattr(7))."""

_OWNER_NEEDS = {stat.S_IFDIR: 0o700, stat.S_IFREG: 0o600}
"""FIFOs and sockets are never opened here, so their owner's rights are the client's affair alone."""


def host_mode(kind: int, mode: int) -> int:
    """The permission bits to set on the host for true ones: equal, or marked with the sticky bit."""
    needs = _OWNER_NEEDS.get(kind, 0)
    if mode & needs == needs and not mode & SPECIAL_BITS:
        return mode
    return (mode | needs | stat.S_ISVTX) & ~SET_ID_BITS


def place_of(directory_fd: int, name: bytes) -> bytes:
    """A path for calls that take no directory descriptor; do not let them follow the last component."""
    return b"/proc/self/fd/%d/%s" % (directory_fd, name)


class ModeTable:
    """Modes by (fileid, generation), appended to a file line by line and rewritten when it is opened."""

    def __init__(self, meta: str | bytes | os.PathLike[str] | None) -> None:
        self._modes: dict[tuple[int, int], int] = {}
        self._log = None
        if meta is not None:
            os.makedirs(meta, mode=0o700, exist_ok=True)
            path = Path(os.fsdecode(meta)) / "modes"
            self._load(path)
            self._log = path.open("a", encoding="ascii", buffering=1)

    def _load(self, path: Path) -> None:
        if not path.exists():
            return
        for line in path.read_text(encoding="ascii", errors="replace").splitlines():
            try:
                fileid, born, mode = line.split()
                self._apply((int(fileid), int(born)), int(mode, 8) if mode != "-" else None)
            except ValueError:
                continue  # the last line of a process that was killed
        fresh = path.with_suffix(".new")
        with fresh.open("w", encoding="ascii") as file:
            file.writelines(f"{ino} {born} {mode:o}\n" for (ino, born), mode in self._modes.items())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    def _apply(self, key: tuple[int, int], mode: int | None) -> None:
        if mode is None:
            self._modes.pop(key, None)
        else:
            self._modes[key] = mode

    def get(self, node: LocalNode) -> int | None:
        """The mode kept for this file."""
        return self._modes.get((node.fileid, node.generation))

    def set(self, node: LocalNode, mode: int | None) -> None:
        """Keep or (None) forget; written to the file before this returns, which a crash of the process survives."""
        key = (node.fileid, node.generation)
        if self._modes.get(key) == mode:
            return
        self._apply(key, mode)
        if self._log is not None:
            self._log.write(f"{key[0]} {key[1]} {'-' if mode is None else format(mode, 'o')}\n")

    def close(self) -> None:
        """Safe to call twice."""
        if self._log is not None:
            self._log.close()


class Sidecar:
    """Reads and writes true modes. `where` is a descriptor of the file, or its `place_of`."""

    def __init__(self, table: ModeTable) -> None:
        self._table = table

    def read(self, node: LocalNode, where: int | bytes) -> int | None:
        """The true permission bits of a file whose host mode is marked; None when there are none beside."""
        kept = self._table.get(node)
        if kept is not None:
            return kept
        if node.kind not in _OWNER_NEEDS:
            return None
        try:
            text = os.getxattr(where, ATTRIBUTE, follow_symlinks=isinstance(where, int))
            return int(text, 8) & 0o7777
        except (OSError, ValueError):
            return None  # ENODATA: the host's own sticky bit; anything else than octal was not written by us

    def write(self, node: LocalNode, where: int | bytes, mode: int) -> None:
        """Keep the true mode. To be done before the host mode is changed: the marked mode alone would be shown."""
        if node.kind in _OWNER_NEEDS:
            try:
                os.setxattr(where, ATTRIBUTE, b"%o" % mode, follow_symlinks=isinstance(where, int))
            except OSError as error:
                if error.errno not in _NO_XATTR:
                    raise
            else:
                self._table.set(node, None)
                return
        self._table.set(node, mode)

    def forget(self, node: LocalNode, where: int | bytes) -> None:
        """The host's mode is the true one again."""
        self._table.set(node, None)
        if node.kind in _OWNER_NEEDS:
            try:
                os.removexattr(where, ATTRIBUTE, follow_symlinks=isinstance(where, int))
            except OSError:
                pass  # an attribute nobody looks at: the mark is gone

    def forget_node(self, node: LocalNode) -> None:
        """The file itself is gone, and an attribute with it."""
        self._table.set(node, None)

    def close(self) -> None:
        """Safe to call twice."""
        self._table.close()


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
        os.setxattr(path, ATTRIBUTE, b"%o" % mode)
        os.chmod(path, host_mode(kind, mode))
        return True
    except OSError:
        return fd >= 0 and os.stat(fd).st_mode & needs == needs
    finally:
        if fd >= 0:
            os.close(fd)
