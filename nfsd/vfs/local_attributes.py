"""The local backend's attributes: GETATTR, SETATTR, ACCESS, READLINK, with true modes and owners beside (sidecar.py).

Everything goes by an open descriptor, or by (directory descriptor, name) without following: chmod of what must not be
opened (FIFOs, sockets) through an O_PATH descriptor and /proc, which is how glibc does fchmodat(AT_SYMLINK_NOFOLLOW).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from nfsd.vfs.attributes import as_kept
from nfsd.vfs.failures import failure
from nfsd.vfs.interface import Attributes, Caller, Changes, Maybe, Node
from nfsd.vfs.kept import Kept
from nfsd.vfs.local_base import OFFSET_MAX, LocalBase
from nfsd.vfs.nodes import OUR_OWN, UNREAD, LocalNode
from nfsd.vfs.permissions import SET_ID_BITS, in_group, without_set_id
from nfsd.vfs.sidecar import host_mode, place_of, write_owner
from nfsd.vfs.times import set_times

TRUNCATE_INLINE_BYTES_MAX = 8 << 20
"""Cutting off more than this happens in the pool: freeing extents takes the file system about 1 ms for 100 MiB."""

NOBODYS = (0, 0)
"""Whose a file is that is marked and has nothing kept beside, once users are told apart: no ordinary one of them."""


class LocalAttributes(LocalBase):
    """See `FileSystem`."""

    def settle_owner(self, uid: int, gid: int) -> tuple[int, int]:
        if self.owner is None:
            write_owner(self.tree.root.fd, uid, gid)
            self.owner = (uid, gid)
            self.getattr(self.tree.root)
        return self.owner

    def getattr(self, node: Node) -> Attributes:
        assert isinstance(node, LocalNode)
        fd = node.fd
        if fd < 0 or node.kind != stat.S_IFREG:
            return self.shown(node, self.tree.stat(node))
        node.used = True  # `Tree.stat`, without the call
        st = os.fstat(fd)
        mode = st.st_mode
        if not st.st_nlink or mode & stat.S_ISVTX:
            return self._shown_as_kept(node, st) if st.st_nlink else self.shown(node, self.tree.stat(node))
        node.kept = node.ids = None  # `shown`, likewise
        node.mode = mode
        return st if self.owner is None else as_kept(st, mode, self.owner)

    before = getattr

    def after(self, node: Node) -> Attributes:
        """By the descriptor also of a directory: `getattr` asks where it is, but the operation was done on this one."""
        assert isinstance(node, LocalNode)
        fd = node.fd
        if fd >= 0:
            st = os.fstat(fd)
            if st.st_nlink:
                return self.shown(node, st)
        return self.getattr(node)

    def shown(self, node: LocalNode, st: os.stat_result) -> Attributes:
        """The kernel's own object, or one with the true mode and owner where the host's are not; refreshes the node."""
        mode, owner = st.st_mode, self.owner
        if mode & stat.S_ISVTX or (owner is not None and node.kind == stat.S_IFLNK):
            return self._shown_as_kept(node, st)
        node.kept = node.ids = None
        node.mode = mode
        return st if owner is None else as_kept(st, mode, owner)

    def _shown_as_kept(self, node: LocalNode, st: os.stat_result) -> Attributes:
        mode, ids = st.st_mode, None
        kept = self._kept(node, st)
        if kept is not None:
            mode, ids = node.kind | kept.mode, kept.ids
        elif self.owner is not None and mode & stat.S_ISVTX:
            ids = NOBODYS  # half made, when this process or its predecessor was killed; or marked by the host's user
        node.mode, node.ids = mode, ids
        if kept is None and ids is None and self.owner is None:
            return st
        return as_kept(st, mode, ids or self.owner or (st.st_uid, st.st_gid))

    def _kept(self, node: LocalNode, st: os.stat_result) -> Kept | None:
        """What is kept beside the file: asked for again only when the file has changed since."""
        ctime = st.st_ctime_ns
        if node.kept_ctime != ctime:
            if node.kept_ctime != OUR_OWN:
                node.kept = self.sidecar.table.get(node)
                if node.kept is None and node.kind != stat.S_IFLNK:
                    node.kept = self.sidecar.read(node, self._where(node))
            node.kept_ctime = ctime
        return node.kept

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

    def _settle_attributes(self, node: LocalNode, st: os.stat_result, changes: Changes) -> Maybe[Attributes]:
        node.touch()
        self.apply(node, st, changes)
        attributes = self.getattr(node)
        if not self.stable:
            return attributes
        return self.flush_node(node).then(lambda _none: attributes)

    def apply(self, node: LocalNode, st: os.stat_result, changes: Changes) -> None:
        mode, uid, gid, _size, atime_ns, mtime_ns = changes
        if uid is not None or gid is not None:
            self._chown(node, st, uid, gid, mode)
        elif mode is not None:
            self.shown(node, st)
            self.keep(node, st, mode & 0o7777, node.ids)
        if atime_ns is not None or mtime_ns is not None:  # last: what comes before moves them
            self.set_times(node, atime_ns, mtime_ns)

    def _chown(self, node: LocalNode, st: os.stat_result, uid: int | None, gid: int | None, mode: int | None) -> None:
        now = self.shown(node, st)
        wanted = (now.st_uid if uid is None else uid, now.st_gid if gid is None else gid)
        ids = node.ids if wanted == (now.st_uid, now.st_gid) else wanted
        if ids == (self.owner or (st.st_uid, st.st_gid)):
            ids = None
        if mode is None:
            mode = stat.S_IMODE(now.st_mode)
            mode = mode if node.kind in (stat.S_IFDIR, stat.S_IFLNK) else without_set_id(mode)
        unchanged = ids == node.ids and mode & 0o7777 == stat.S_IMODE(now.st_mode)
        if unchanged or node.kind == stat.S_IFLNK:
            with self._handle(node) as path:
                os.chown(path, -1, -1)  # moves the change time
        if not unchanged:
            self.keep(node, st, mode & 0o7777, ids)

    def keep(self, node: LocalNode, st: os.stat_result, mode: int, ids: tuple[int, int] | None) -> None:
        """Set the true mode and owner. A crash between the steps leaves the old ones or the new ones, both, and never a
        daemon that is locked out."""
        host = host_mode(node.kind, mode, ids is not None)
        marked = host & stat.S_ISVTX
        if node.kind == stat.S_IFLNK:
            self.sidecar.table.set(node, None if ids is None else Kept(mode, ids))
        elif node.fd >= 0 and not marked and not st.st_mode & stat.S_ISVTX:  # a file being unpacked: nothing beside
            os.chmod(node.fd, host)
        else:
            self._keep_beside(node, st, host, Kept(mode, ids) if marked else None)
        node.kept = Kept(mode, ids) if marked else None
        node.kept_ctime = OUR_OWN if marked else UNREAD
        node.mode, node.ids = node.kind | mode, ids

    def _keep_beside(self, node: LocalNode, st: os.stat_result, host: int, kept: Kept | None) -> None:
        with self._handle(node) as path:
            # A new content of the attribute moves the change time; the same one does not on every file system.
            moved = kept is not None and self.sidecar.write(node, path, kept) and kept != node.kept
            if not moved or st.st_mode & 0o7777 != host:
                os.chmod(path, host)
            if kept is None:
                self.sidecar.forget(node, path)

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
        kept = node.kept
        if kept is not None and caller.uid != 0 and kept.mode & SET_ID_BITS:
            ids = kept.ids or self.owner
            left = without_set_id(kept.mode, ids is None or in_group(caller, ids[1]))
            if left != kept.mode:
                self.keep(node, self.tree.stat(node), left, kept.ids)
