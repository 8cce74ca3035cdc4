"""The local backend's attributes: GETATTR, SETATTR, ACCESS, READLINK, with true modes kept beside (sidecar.py).

Everything goes by an open descriptor, or by (directory descriptor, name) without following: chmod of what must not be
opened (FIFOs, sockets) through an O_PATH descriptor and /proc, which is how glibc does fchmodat(AT_SYMLINK_NOFOLLOW).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from nfsd.vfs.attributes import with_mode
from nfsd.vfs.failures import failure
from nfsd.vfs.interface import Attributes, Caller, Changes, Maybe, Node
from nfsd.vfs.local_base import OFFSET_MAX, LocalBase
from nfsd.vfs.nodes import LocalNode
from nfsd.vfs.permissions import without_set_id
from nfsd.vfs.sidecar import host_mode, place_of
from nfsd.vfs.times import set_times

TRUNCATE_INLINE_BYTES_MAX = 8 << 20
"""Cutting off more than this happens in the pool: freeing extents takes the file system about 1 ms for 100 MiB."""


class LocalAttributes(LocalBase):
    """See `FileSystem`."""

    def getattr(self, node: Node) -> Attributes:
        assert isinstance(node, LocalNode)
        fd = node.fd
        if fd < 0 or node.kind != stat.S_IFREG:
            return self.shown(node, self.tree.stat(node))
        node.used = True  # `Tree.stat`, without the call
        st = os.fstat(fd)
        mode = st.st_mode
        if not st.st_nlink or mode & stat.S_ISVTX:
            return self.shown(node, self.tree.stat(node))
        node.beside = -1  # `shown`, likewise
        node.owner_access = mode >> 6 & 7
        return st

    before = getattr

    def after(self, node: Node) -> Attributes:
        """By the descriptor also of a directory: `getattr` asks where it is, but the operation was done on this one."""
        assert isinstance(node, LocalNode)
        fd = node.fd
        if fd >= 0:
            st = os.fstat(fd)
            if st.st_nlink and not st.st_mode & stat.S_ISVTX:
                node.beside = -1
                node.owner_access = st.st_mode >> 6 & 7
                return st
        return self.getattr(node)

    def shown(self, node: LocalNode, st: os.stat_result) -> Attributes:
        """The kernel's own object, or one with the true mode where the host's is marked; refreshes the node."""
        mode = st.st_mode
        if not mode & stat.S_ISVTX:
            node.beside = -1
            node.owner_access = mode >> 6 & 7
            return st
        true = self.sidecar.read(node, self._where(node))
        if true is None:
            node.beside = -1
            node.owner_access = mode >> 6 & 7
            return st
        node.beside = true
        node.owner_access = true >> 6 & 7
        return with_mode(st, true)

    def _where(self, node: LocalNode) -> int | bytes:
        """What the extended attribute calls take: a descriptor, or a path through /proc."""
        if node.fd >= 0:
            return node.fd
        if node.parent is None:
            raise self.tree.missing(node)
        return place_of(self.tree.directory(node.parent), node.name)

    def access(self, caller: Caller, node: Node) -> int:
        self.getattr(node)
        return node.owner_access

    def readlink(self, caller: Caller, node: Node) -> bytes:
        assert isinstance(node, LocalNode)
        if node.kind != stat.S_IFLNK:
            raise self.tree.unfit(node, errno.EINVAL)
        self.tree.stat_by_name(node)
        assert node.parent is not None
        return os.readlink(node.name, dir_fd=self.tree.directory(node.parent))

    # ---- SETATTR ----

    def setattr(self, caller: Caller, node: Node, changes: Changes) -> Maybe[Attributes]:
        assert isinstance(node, LocalNode)
        st = self.tree.stat(node)
        self.refuse_early(node, st, changes)
        size = changes.size
        if size is None:
            return self._settle_attributes(node, st, changes)
        self.drop_set_id(node, caller)
        fd = self.tree.file(node, writing=True)
        if st.st_size - size <= TRUNCATE_INLINE_BYTES_MAX:
            os.ftruncate(fd, size)
            return self._settle_attributes(node, os.fstat(fd), changes)
        cut = self.pooled(node, os.ftruncate, fd, size)
        return cut.then(lambda _none: self._settle_attributes(node, self.tree.stat(node), changes))

    def refuse_early(self, node: LocalNode, st: os.stat_result, changes: Changes) -> None:
        """Everything that can be known to fail, before anything is changed."""
        if changes.size is not None and node.kind != stat.S_IFREG:
            raise failure(errno.EISDIR if node.kind == stat.S_IFDIR else errno.EINVAL)
        if changes.size is not None and changes.size > OFFSET_MAX:
            raise failure(errno.EFBIG)
        if changes.mode is not None and node.kind == stat.S_IFLNK:
            raise failure(errno.EOPNOTSUPP)  # Linux has no modes of symlinks
        given = (changes.uid, changes.gid)
        if given != (None, None) and os.geteuid() != 0:
            uid, gid = given
            if (uid is not None and uid != st.st_uid) or (gid is not None and gid != st.st_gid):
                raise failure(errno.EPERM)

    def _settle_attributes(self, node: LocalNode, st: os.stat_result, changes: Changes) -> Maybe[Attributes]:
        node.touch()
        self.apply(node, st, changes)
        attributes = self.getattr(node)
        if not self.stable:
            return attributes
        return self.flush_node(node).then(lambda _none: attributes)

    def apply(self, node: LocalNode, st: os.stat_result, changes: Changes) -> None:
        _mode, uid, gid, _size, atime_ns, mtime_ns = changes
        if uid is not None or gid is not None:
            self._chown(node, st, -1 if uid is None else uid, -1 if gid is None else gid)
        if changes.mode is not None:
            self.chmod(node, changes.mode & 0o7777, st)
        if atime_ns is not None or mtime_ns is not None:  # last: what comes before moves them
            self.set_times(node, atime_ns, mtime_ns)

    def _chown(self, node: LocalNode, st: os.stat_result, uid: int, gid: int) -> None:
        with self._handle(node) as path:
            os.chown(path, uid, gid)
        mode = self.true_mode(node, st)
        if node.kind == stat.S_IFREG and without_set_id(mode) != mode:
            self.chmod(node, without_set_id(mode), st)

    def true_mode(self, node: LocalNode, st: os.stat_result) -> int:
        """The permission bits a client sees."""
        return stat.S_IMODE(self.shown(node, st).st_mode)

    def chmod(self, node: LocalNode, mode: int, st: os.stat_result) -> None:
        """Set the true mode. Crash between the steps: the old mode or the new one, never a locked-out daemon."""
        host = host_mode(node.kind, mode)
        marked = host & stat.S_ISVTX
        if node.fd >= 0 and not marked and not st.st_mode & stat.S_ISVTX:  # a file being unpacked: nothing beside
            os.chmod(node.fd, host)
            node.owner_access = mode >> 6 & 7
            return
        with self._handle(node) as path:
            if marked:
                self.sidecar.write(node, path, mode)
            os.chmod(path, host)
            if st.st_mode & stat.S_ISVTX and not marked:
                self.sidecar.forget(node, path)
        node.beside = mode if marked else -1
        node.owner_access = mode >> 6 & 7

    def set_times(self, node: LocalNode, atime_ns: int | None, mtime_ns: int | None) -> None:
        """NOW is the kernel's clock for files; None leaves a time as it is."""
        if node.fd >= 0:
            set_times(node.fd, None, atime_ns, mtime_ns)
            return
        self.tree.stat_by_name(node)
        assert node.parent is not None
        set_times(self.tree.directory(node.parent), node.name, atime_ns, mtime_ns)

    @contextmanager
    def _handle(self, node: LocalNode) -> Iterator[int | bytes]:
        """Something chmod, chown and setxattr take and that cannot become another file: a descriptor, or the /proc
        path of an O_PATH one."""
        if node.kind == stat.S_IFDIR:
            yield self.tree.directory(node)
            return
        if node.fd >= 0:
            yield node.fd
            return
        self.tree.stat_by_name(node)
        assert node.parent is not None
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(node.name, flags, dir_fd=self.tree.directory(node.parent))
        try:
            if os.fstat(fd).st_ino != node.fileid:
                raise self.tree.missing(node)
            yield b"/proc/self/fd/%d" % fd
        finally:
            os.close(fd)

    def drop_set_id(self, node: LocalNode, caller: Caller) -> None:
        """Writing and truncating take setuid and setgid away, but from the superuser (CAP_FSETID)."""
        if node.beside >= 0 and caller.uid != 0 and without_set_id(node.beside) != node.beside:
            self.chmod(node, without_set_id(node.beside), self.tree.stat(node))
