"""The local backend's names: making, linking, removing and moving entries of directories.

The host's kernel makes each of these atomic; here they are kept in step with the node table and the cached listings.
Nothing is looked at first that the system call itself decides (EEXIST, ENOTEMPTY, EINVAL ...), but for what has to be
known afterwards: which node a name meant.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from struct import unpack

from nfsd.vfs import generation
from nfsd.vfs.failures import failure
from nfsd.vfs.interface import Attributes, Caller, Changes, CreateHow, Later, Maybe, Node
from nfsd.vfs.listing import Listings, Snapshot
from nfsd.vfs.local_base import OFFSET_MAX
from nfsd.vfs.local_data import LocalData
from nfsd.vfs.names import check
from nfsd.vfs.nodes import FILE_FLAGS, OUR_OWN, LocalNode
from nfsd.vfs.sidecar import host_mode

DELETE_INLINE_BYTES_MAX = 8 << 20
"""The last close of a deleted file frees its blocks; above this size that close is the pool's."""

MODE_DEFAULT = 0o600
"""For a new file whose creator gave no mode: RFC 1813 leaves it to the server."""

DIRECTORY_MODE_DEFAULT = 0o700

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | FILE_FLAGS


def verifier_times(verifier: bytes) -> tuple[int, int]:
    """The (atime, mtime), in whole seconds since 1970, that keep a verifier of EXCLUSIVE across a restart.

    31 bits of each half, as the Linux server does: the sign bit would not come back from every file system.
    """
    if len(verifier) != 8:
        raise failure(errno.EINVAL)
    first, second = unpack(">II", verifier)
    return first & 0x7FFFFFFF, second & 0x7FFFFFFF


def _born(kind: int, mode: int, changes: Changes) -> int:
    """The mode a file is made with on the host. For somebody who is not the volume's owner it is marked from the
    start: until its ids are kept beside it, it is nobody's."""
    if _given(changes) is None:
        return host_mode(kind, mode) & 0o777
    return host_mode(kind, mode, marked=True)


def _given(changes: Changes) -> tuple[int, int] | None:
    """The ids a new file shall have; those of the volume's owner need not be said."""
    return None if changes.uid is None or changes.gid is None else (changes.uid, changes.gid)


class LocalNames(LocalData):
    """See `FileSystem`."""

    listings: Listings

    # ---- new names ----

    def create(
        self, caller: Caller, directory: Node, name: bytes, how: CreateHow, changes: Changes, verifier: bytes = b""
    ) -> Maybe[tuple[Node, Attributes]]:
        assert isinstance(directory, LocalNode)
        check(name)
        times = verifier_times(verifier) if how == CreateHow.EXCLUSIVE else None
        if times is not None:
            # The file is its creator's alone until he says, by SETATTR, what it shall be (RFC 1813 section 3.3.8).
            atime_ns, mtime_ns = (seconds * 10**9 for seconds in times)
            changes = changes._replace(mode=MODE_DEFAULT, size=None, atime_ns=atime_ns, mtime_ns=mtime_ns)
        if changes.size is not None and changes.size > OFFSET_MAX:
            raise failure(errno.EFBIG)
        mode = MODE_DEFAULT if changes.mode is None else changes.mode & 0o7777
        directory_fd = self.tree.directory(directory)
        snapshot = self._snapshot(directory)
        try:
            fd = os.open(name, _CREATE, _born(stat.S_IFREG, mode, changes), dir_fd=directory_fd)
        except FileExistsError:
            return self._existing(caller, directory, name, how, changes, times)
        node, st = self._created(directory, name, fd)
        if snapshot is not None:
            self._changed(directory, snapshot, name, node.fileid)
        if changes.size or self._wants(changes) or st.st_mode & 0o7777 != mode:
            self._finish(node, st, changes._replace(mode=mode), directory_fd)
            return self.named(directory, (node, self.getattr(node)))
        return self.named(directory, (node, st if self.owner is None else self.shown(node, st)))

    def _created(self, directory: LocalNode, name: bytes, fd: int) -> tuple[LocalNode, os.stat_result]:
        st = os.fstat(fd)
        gone = self.tree.known(st.st_ino)
        if gone is not None:
            self.tree.bury(gone)  # whatever its generation: this file was born just now
        node = self.tree.adopt(st, generation.of_descriptor(fd), None)
        node.parent, node.name, node.links = directory, name, None
        self.descriptors.put(node, fd, True)
        if st.st_mode & stat.S_ISVTX:
            node.kept_ctime = OUR_OWN  # nothing is beside it, yet
        return node, st

    @staticmethod
    def _wants(changes: Changes) -> bool:
        """More than a mode and an empty file."""
        return not (changes.uid is changes.gid is changes.atime_ns is changes.mtime_ns is None)

    def _finish(self, node: LocalNode, st: os.stat_result, changes: Changes, directory_fd: int) -> None:
        """What the new file shall be beside empty; when that fails (ENOSPC, EFBIG, EPERM) there is no file."""
        try:
            self.refuse_early(node, st, changes)
            if changes.size:
                os.ftruncate(node.fd, changes.size)
            self.apply(node, st, changes._replace(mode=None) if changes.mode == st.st_mode & 0o7777 else changes)
        except BaseException:
            self._undo(node, directory_fd)
            raise

    def _undo(self, node: LocalNode, directory_fd: int) -> None:
        directory, name = node.parent, node.name
        assert directory is not None
        if node.kind == stat.S_IFDIR:
            os.rmdir(name, dir_fd=directory_fd)
        else:
            os.unlink(name, dir_fd=directory_fd)
        self.listings.drop(directory)
        self.sidecar.forget_node(node)
        self.tree.bury(node)

    def _existing(
        self,
        caller: Caller,
        directory: LocalNode,
        name: bytes,
        how: CreateHow,
        changes: Changes,
        times: tuple[int, int] | None,
    ) -> Maybe[tuple[Node, Attributes]]:
        if how == CreateHow.GUARDED:
            raise failure(errno.EEXIST, name)
        node, st = self.tree.find_child(directory, name)
        if node.kind != stat.S_IFREG:
            opened = how == CreateHow.UNCHECKED and node.kind == stat.S_IFDIR  # open(2): O_EXCL is EEXIST for all kinds
            raise failure(errno.EISDIR if opened else errno.EEXIST, name)
        if times is not None:
            if st.st_size or times != (st.st_atime_ns // 10**9, st.st_mtime_ns // 10**9):
                raise failure(errno.EEXIST, name)
            return self.named(directory, (node, self.shown(node, st)))
        if changes.size is None:
            return node, self.shown(node, st)
        changed = self.setattr(caller, node, Changes(size=changes.size))
        return changed.then(lambda attributes: (node, attributes)) if isinstance(changed, Later) else (node, changed)

    def mkdir(self, caller: Caller, directory: Node, name: bytes, changes: Changes) -> Maybe[tuple[Node, Attributes]]:
        assert isinstance(directory, LocalNode)
        mode = DIRECTORY_MODE_DEFAULT if changes.mode is None else changes.mode & 0o7777
        mode |= directory.mode & stat.S_ISGID  # as mkdir(2): a setgid directory's children are so too
        check(name)
        directory_fd, snapshot = self.tree.directory(directory), self._snapshot(directory)
        os.mkdir(name, _born(stat.S_IFDIR, mode, changes), dir_fd=directory_fd)
        return self._made(directory, snapshot, name, changes._replace(mode=mode))

    def symlink(
        self, caller: Caller, directory: Node, name: bytes, target: bytes, changes: Changes
    ) -> Maybe[tuple[Node, Attributes]]:
        assert isinstance(directory, LocalNode)
        check(name)
        if b"\0" in target:
            raise failure(errno.EINVAL)
        directory_fd, snapshot = self.tree.directory(directory), self._snapshot(directory)
        with self.sidecar.table.intended(directory, name, _given(changes)):
            os.symlink(target, name, dir_fd=directory_fd)
        return self._made(directory, snapshot, name, changes._replace(mode=None))

    def mknod(
        self, caller: Caller, directory: Node, name: bytes, kind: int, changes: Changes
    ) -> Maybe[tuple[Node, Attributes]]:
        assert isinstance(directory, LocalNode)
        if kind not in (stat.S_IFIFO, stat.S_IFSOCK):
            raise failure(errno.EPERM if kind in (stat.S_IFBLK, stat.S_IFCHR) else errno.EINVAL)
        mode = MODE_DEFAULT if changes.mode is None else changes.mode & 0o7777
        check(name)
        directory_fd, snapshot = self.tree.directory(directory), self._snapshot(directory)
        os.mknod(name, kind | _born(kind, mode, changes), dir_fd=directory_fd)
        return self._made(directory, snapshot, name, changes._replace(mode=mode))

    def _made(
        self, directory: LocalNode, snapshot: Snapshot | None, name: bytes, changes: Changes
    ) -> Maybe[tuple[Node, Attributes]]:
        node, st = self.tree.find_child(directory, name)
        if snapshot is not None:
            self._changed(directory, snapshot, name, node.fileid)
        changes = changes._replace(size=None)
        if changes.mode == st.st_mode & 0o7777:
            changes = changes._replace(mode=None)
        if changes.mode is not None or self._wants(changes):
            self._finish(node, st, changes, self.tree.directory(directory))
        return self.named(directory, (node, self.getattr(node)))

    def link(self, caller: Caller, node: Node, directory: Node, name: bytes) -> Maybe[Attributes]:
        assert isinstance(node, LocalNode)
        assert isinstance(directory, LocalNode)
        check(name)
        if node.kind == stat.S_IFDIR:
            raise self.tree.unfit(node, errno.EPERM)
        self.tree.stat_by_name(node)
        assert node.parent is not None
        with self._two(node.parent, directory) as (from_fd, to_fd):
            snapshot = self._snapshot(directory)
            node.touch()
            os.link(node.name, name, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
            if os.lstat(name, dir_fd=to_fd).st_ino != node.fileid:  # the host put another file there just before
                os.unlink(name, dir_fd=to_fd)
                self.tree.lose(node)
                raise self.tree.missing(node)
        if snapshot is not None:
            self._changed(directory, snapshot, name, node.fileid)
        self.tree.add_link(node, directory, name)
        return self.named(directory, self.getattr(node))

    # ---- names that go ----

    def remove(self, caller: Caller, directory: Node, name: bytes) -> Maybe[Attributes | None]:
        assert isinstance(directory, LocalNode)
        check(name)
        directory_fd = self.tree.directory(directory)
        st = os.lstat(name, dir_fd=directory_fd)
        if stat.S_ISDIR(st.st_mode):
            raise failure(errno.EISDIR, name)
        node = self._meant(directory, name, st)
        snapshot = self._snapshot(directory)
        held = self._hold(directory_fd, name, st)
        try:
            os.unlink(name, dir_fd=directory_fd)
        finally:
            self._close_later(held)
        if snapshot is not None:
            self._changed(directory, snapshot, name, None)
        return self.named(directory, self._unlinked(directory, name, st, node))

    def rmdir(self, caller: Caller, directory: Node, name: bytes) -> Maybe[None]:
        assert isinstance(directory, LocalNode)
        check(name)
        directory_fd = self.tree.directory(directory)
        st = os.lstat(name, dir_fd=directory_fd)
        node = self._meant(directory, name, st)
        snapshot = self._snapshot(directory)
        os.rmdir(name, dir_fd=directory_fd)
        if snapshot is not None:
            self._changed(directory, snapshot, name, None)
        self._unlinked(directory, name, st, node)
        return self.named(directory, None)

    def _meant(self, directory: LocalNode, name: bytes, st: os.stat_result) -> LocalNode | None:
        """The node of a name about to go, if it is known. One that may have a line in the table has to be: it is kept
        under the generation."""
        if st.st_mode & stat.S_ISVTX or (self.owner is not None and stat.S_ISLNK(st.st_mode)):
            return self.tree.find_child(directory, name)[0]
        return self.tree.known(st.st_ino)

    def _unlinked(
        self, directory: LocalNode, name: bytes, st: os.stat_result, node: LocalNode | None
    ) -> os.stat_result | None:
        """A name is gone that meant this file; its attributes if the file is gone too."""
        if st.st_nlink > 1 and not stat.S_ISDIR(st.st_mode):
            if node is not None:
                self.tree.unplace(node, directory, name)
            return None
        if node is not None:
            self.sidecar.forget_node(node)
            self.listings.drop(node)
            self.tree.bury(node, self._close_later if st.st_size > DELETE_INLINE_BYTES_MAX else os.close)
        return st

    def _hold(self, directory_fd: int, name: bytes, st: os.stat_result) -> int:
        """A descriptor of a large file about to lose its last name, else -1: it keeps the blocks until the pool
        closes it, so the loop does not wait for them to be freed."""
        if st.st_size <= DELETE_INLINE_BYTES_MAX or st.st_nlink > 1 or not stat.S_ISREG(st.st_mode):
            return -1
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)

    def _close_later(self, fd: int) -> None:
        if fd < 0:
            return
        try:
            self.pool.run(os.close, fd)
        except (OSError, RuntimeError):  # the pool is full or closed, or there is no loop any more
            os.close(fd)

    # ---- names that move ----

    def rename(
        self, caller: Caller, from_directory: Node, from_name: bytes, to_directory: Node, to_name: bytes
    ) -> Maybe[Attributes | None]:
        assert isinstance(from_directory, LocalNode)
        assert isinstance(to_directory, LocalNode)
        check(from_name)
        check(to_name)
        with self._two(from_directory, to_directory) as (from_fd, to_fd):
            moved = os.lstat(from_name, dir_fd=from_fd)
            try:
                replaced: os.stat_result | None = os.lstat(to_name, dir_fd=to_fd)
            except FileNotFoundError:
                replaced = None
            if replaced is not None and replaced.st_ino == moved.st_ino:
                return None  # two links of one file, or one name twice: rename(2) does nothing
            meant = None if replaced is None else self._meant(to_directory, to_name, replaced)
            left, arrived = self._snapshot(from_directory), self._snapshot(to_directory)
            held = -1 if replaced is None else self._hold(to_fd, to_name, replaced)
            try:
                os.rename(from_name, to_name, src_dir_fd=from_fd, dst_dir_fd=to_fd)
            finally:
                self._close_later(held)
            if left is not None:
                self._changed(from_directory, left, from_name, None)
            if arrived is not None:
                self._changed(to_directory, arrived, to_name, moved.st_ino)
        gone = None if replaced is None else self._unlinked(to_directory, to_name, replaced, meant)
        node = self.tree.known(moved.st_ino)
        if node is not None:
            self.tree.add_link(node, to_directory, to_name)
            self.tree.unplace(node, from_directory, from_name)
        return self.named(from_directory, gone, to_directory)

    @contextmanager
    def _two(self, first: LocalNode, second: LocalNode) -> Iterator[tuple[int, int]]:
        """Both directories' descriptors: the first is pinned, opening the second may evict it otherwise."""
        first_fd = self.tree.directory(first)
        first.pins += 1
        try:
            yield first_fd, self.tree.directory(second)
        finally:
            self.descriptors.unpin(first, first_fd)

    # ---- cached listings follow, if they were true just before the change ----

    def _snapshot(self, directory: LocalNode) -> Snapshot | None:
        """Called before each change of a directory's names."""
        directory.version += 1
        directory.touch()
        kept = self.listings.get(directory)
        if kept is None:
            return None
        return self.listings.fresh(directory, os.fstat(self.tree.directory(directory)).st_mtime_ns)

    def _changed(self, directory: LocalNode, snapshot: Snapshot, name: bytes, fileid: int | None) -> None:
        if fileid is None:
            snapshot.remove(name)
        else:
            snapshot.add(name, fileid)
        snapshot.mtime_ns = os.fstat(self.tree.directory(directory)).st_mtime_ns
