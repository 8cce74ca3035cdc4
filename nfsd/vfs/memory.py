"""A file system in memory: complete, simple, and the reference the local backend is held against.

For tests and for embedders who need a volume that leaves nothing behind. Nothing here is fast or large, and every rule
of POSIX that the kernel keeps for the local backend is written out. Handles do not survive the process.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import time
from collections.abc import Iterator
from itertools import chain

from nfsd.vfs.failures import failure
from nfsd.vfs.interface import (
    NOW,
    Attributes,
    Caller,
    Changes,
    CreateHow,
    Entry,
    FileSystem,
    FileSystemStatistics,
    Listing,
    Node,
    ReadResult,
    Stability,
)
from nfsd.vfs.listing import COOKIE_PARENT, COOKIE_SELF, Snapshot
from nfsd.vfs.memory_node import MemoryNode, Owner
from nfsd.vfs.names import check
from nfsd.vfs.permissions import in_group, without_set_id

FILE_BYTES_MAX = 1 << 30
"""EFBIG beyond: contents are kept as one bytearray."""

_TARGET_BYTES_MAX = 4095  # PATH_MAX less the NUL


class MemoryFileSystem(FileSystem):
    """See `FileSystem`. `uid`, `gid`: the volume's owner until it is settled; by default this process' own."""

    def __init__(self, *, uid: int | None = None, gid: int | None = None) -> None:
        self._owner = Owner(os.geteuid() if uid is None else uid, os.getegid() if gid is None else gid)
        self._fileids = itertools.count(2)
        self._nodes: dict[int, MemoryNode] = {}
        self._verifier = os.urandom(8)
        self._root = self._new(stat.S_IFDIR, 0o755)
        self._root.places.append((self._root, b""))

    # ---- nodes and their places ----

    def _new(self, kind: int, mode: int) -> MemoryNode:
        node = MemoryNode(next(self._fileids), kind, mode, self._owner)
        self._nodes[node.fileid] = node
        return node

    @staticmethod
    def _alive(node: Node) -> MemoryNode:
        assert isinstance(node, MemoryNode)
        if not node.places:
            raise failure(errno.ESTALE)
        return node

    def _directory(self, node: Node) -> MemoryNode:
        directory = self._alive(node)
        if directory.kind != stat.S_IFDIR:
            raise failure(errno.ENOTDIR)
        return directory

    def _child(self, directory: Node, name: bytes) -> MemoryNode:
        check(name)
        child = self._directory(directory).children.get(name)
        if child is None:
            raise failure(errno.ENOENT, name)
        return child

    def _attach(self, directory: MemoryNode, name: bytes, node: MemoryNode) -> None:
        directory.children[name] = node
        node.places.append((directory, name))
        node.ctime = directory.mtime = directory.ctime = time.time_ns()

    def _detach(self, directory: MemoryNode, name: bytes) -> Attributes | None:
        """Take a name away; the file's last attributes if that was the last."""
        node = directory.children.pop(name)
        last = node.attributes()
        node.places.remove((directory, name))
        node.ctime = directory.mtime = directory.ctime = time.time_ns()
        if node.places:
            return None
        del self._nodes[node.fileid]
        return last

    def _free(self, directory: Node, name: bytes) -> MemoryNode:
        """The directory, if the name can be made in it."""
        check(name)
        place = self._directory(directory)
        if name in place.children:
            raise failure(errno.EEXIST, name)
        return place

    @property
    def root(self) -> Node:
        return self._root

    def find(self, fileid: int, generation: int) -> Node:
        node = self._nodes.get(fileid)
        if node is None or node.generation != generation:
            raise failure(errno.ESTALE)
        return node

    def lookup(self, caller: Caller, directory: Node, name: bytes) -> tuple[Node, Attributes]:
        child = self._child(directory, name)
        return child, child.attributes()

    def parent(self, caller: Caller, directory: Node) -> tuple[Node, Attributes]:
        above = self._directory(directory).places[0][0]
        return above, above.attributes()

    def peek(self, directory: Node, name: bytes) -> tuple[Node, Attributes] | None:
        check(name)
        child = self._directory(directory).children.get(name)
        return None if child is None else (child, child.attributes())

    def path(self, node: Node) -> bytes:
        parts: list[bytes] = []
        step = self._alive(node)
        while step is not self._root:
            step, name = step.places[0]
            parts.append(name)
        return b"/".join(reversed(parts))

    # ---- attributes ----

    def settle_owner(self, uid: int, gid: int) -> tuple[int, int]:
        if not self._owner.settled:
            self._owner.ids, self._owner.settled = (uid, gid), True
        return self._owner.ids

    def getattr(self, node: Node) -> Attributes:
        return self._alive(node).attributes()

    def setattr(self, caller: Caller, node: Node, changes: Changes) -> Attributes:
        file = self._alive(node)
        self._refuse_early(file, changes)
        if changes.size is not None:
            self._resize(file, changes.size, caller)
        self._apply(file, changes)
        return file.attributes()

    @staticmethod
    def _refuse_early(node: MemoryNode, changes: Changes) -> None:
        if changes.size is not None:
            if node.kind != stat.S_IFREG:
                raise failure(errno.EISDIR if node.kind == stat.S_IFDIR else errno.EINVAL)
            if changes.size > FILE_BYTES_MAX:
                raise failure(errno.EFBIG)
        if changes.mode is not None and node.kind == stat.S_IFLNK:
            raise failure(errno.EOPNOTSUPP)

    def _apply(self, node: MemoryNode, changes: Changes) -> None:
        at = time.time_ns()
        if changes.uid is not None or changes.gid is not None:
            now = node.attributes()
            uid = now.st_uid if changes.uid is None else changes.uid
            gid = now.st_gid if changes.gid is None else changes.gid
            node.ids = None if (uid, gid) == self._owner.ids else (uid, gid)
            if node.kind not in (stat.S_IFDIR, stat.S_IFLNK):
                node.mode = without_set_id(node.mode)
        if changes.mode is not None:
            node.mode = node.kind | changes.mode & 0o7777
        if changes.atime_ns is not None:
            node.atime = at if changes.atime_ns == NOW else changes.atime_ns
        if changes.mtime_ns is not None:
            node.mtime = at if changes.mtime_ns == NOW else changes.mtime_ns
        node.verifier = None
        node.ctime = at

    def _resize(self, node: MemoryNode, size: int, caller: Caller) -> None:
        if size < len(node.data):
            del node.data[size:]
        else:
            node.data.extend(bytes(size - len(node.data)))
        self._written(node, caller)

    def _written(self, node: MemoryNode, caller: Caller) -> None:
        node.mtime = node.ctime = time.time_ns()
        node.verifier = None  # a local file keeps it in its times (RFC 1813 section 3.3.8)
        if caller.uid != 0:
            gid = (node.ids or self._owner.ids)[1]
            node.mode = without_set_id(node.mode, not self._owner.settled or in_group(caller, gid))

    def access(self, caller: Caller, node: Node) -> int:
        return self._alive(node).owner_access

    def readlink(self, caller: Caller, node: Node) -> bytes:
        link = self._alive(node)
        if link.kind != stat.S_IFLNK:
            raise failure(errno.EINVAL)
        return link.target

    # ---- data ----

    def _file(self, node: Node) -> MemoryNode:
        file = self._alive(node)
        if file.kind != stat.S_IFREG:
            raise failure(errno.EISDIR if file.kind == stat.S_IFDIR else errno.EINVAL)
        return file

    def read(self, caller: Caller, node: Node, offset: int, count: int) -> ReadResult:
        file = self._file(node)
        data = bytes(file.data[offset : offset + count])
        return ReadResult(data, offset + len(data) >= len(file.data), file.attributes())

    def write(
        self,
        caller: Caller,
        node: Node,
        offset: int,
        data: memoryview | bytes,
        stability: Stability,
        before: Attributes | None = None,
    ) -> Stability:
        file = self._file(node)
        if offset + len(data) > FILE_BYTES_MAX:
            raise failure(errno.EFBIG)
        if len(data):
            if offset > len(file.data):
                file.data.extend(bytes(offset - len(file.data)))
            file.data[offset : offset + len(data)] = data
            self._written(file, caller)
        return Stability.FILE_SYNC

    def commit(self, caller: Caller, node: Node, offset: int, count: int) -> None:
        self._file(node)

    # ---- names ----

    def create(
        self, caller: Caller, directory: Node, name: bytes, how: CreateHow, changes: Changes, verifier: bytes = b""
    ) -> tuple[Node, Attributes]:
        check(name)
        place = self._directory(directory)
        if how == CreateHow.EXCLUSIVE:
            if len(verifier) != 8:
                raise failure(errno.EINVAL)
            changes = Changes(uid=changes.uid, gid=changes.gid)
        if changes.size is not None and changes.size > FILE_BYTES_MAX:
            raise failure(errno.EFBIG)
        existing = place.children.get(name)
        if existing is not None:
            return self._existing(caller, existing, name, how, changes, verifier)
        node = self._make(place, name, stat.S_IFREG, 0o600, changes)
        if changes.size:
            node.data.extend(bytes(changes.size))
        if how == CreateHow.EXCLUSIVE:
            node.verifier = verifier
        return node, node.attributes()

    def _existing(
        self, caller: Caller, node: MemoryNode, name: bytes, how: CreateHow, changes: Changes, verifier: bytes
    ) -> tuple[Node, Attributes]:
        if how == CreateHow.GUARDED:
            raise failure(errno.EEXIST, name)
        if node.kind != stat.S_IFREG:
            opened = how == CreateHow.UNCHECKED and node.kind == stat.S_IFDIR
            raise failure(errno.EISDIR if opened else errno.EEXIST, name)
        if how == CreateHow.EXCLUSIVE and (node.verifier != verifier or node.data):
            raise failure(errno.EEXIST, name)
        if how == CreateHow.UNCHECKED and changes.size is not None:
            self._resize(node, changes.size, caller)
        return node, node.attributes()

    def _make(self, directory: MemoryNode, name: bytes, kind: int, mode: int, changes: Changes) -> MemoryNode:
        node = self._new(kind, mode)
        try:
            self._refuse_early(node, changes._replace(size=None))
        except BaseException:
            del self._nodes[node.fileid]
            raise
        self._attach(directory, name, node)
        self._apply(node, changes)
        return node

    def mkdir(self, caller: Caller, directory: Node, name: bytes, changes: Changes) -> tuple[Node, Attributes]:
        place = self._free(directory, name)
        mode = 0o700 if changes.mode is None else changes.mode
        mode |= place.mode & stat.S_ISGID
        node = self._make(place, name, stat.S_IFDIR, mode, changes._replace(mode=mode))
        return node, node.attributes()

    def symlink(
        self, caller: Caller, directory: Node, name: bytes, target: bytes, changes: Changes
    ) -> tuple[Node, Attributes]:
        check(name)
        self._directory(directory)
        if b"\0" in target:
            raise failure(errno.EINVAL)
        if not target:
            raise failure(errno.ENOENT)
        if len(target) > _TARGET_BYTES_MAX:
            raise failure(errno.ENAMETOOLONG)
        node = self._make(self._free(directory, name), name, stat.S_IFLNK, 0o777, changes._replace(mode=None))
        node.target = target
        return node, node.attributes()

    def mknod(
        self, caller: Caller, directory: Node, name: bytes, kind: int, changes: Changes
    ) -> tuple[Node, Attributes]:
        if kind not in (stat.S_IFIFO, stat.S_IFSOCK):
            raise failure(errno.EPERM if kind in (stat.S_IFBLK, stat.S_IFCHR) else errno.EINVAL)
        node = self._make(self._free(directory, name), name, kind, 0o600, changes)
        return node, node.attributes()

    def link(self, caller: Caller, node: Node, directory: Node, name: bytes) -> Attributes:
        check(name)
        file = self._alive(node)
        if file.kind == stat.S_IFDIR:
            raise failure(errno.EPERM)
        self._attach(self._free(directory, name), name, file)
        return file.attributes()

    def remove(self, caller: Caller, directory: Node, name: bytes) -> Attributes | None:
        if self._child(directory, name).kind == stat.S_IFDIR:
            raise failure(errno.EISDIR, name)
        return self._detach(self._directory(directory), name)

    def rmdir(self, caller: Caller, directory: Node, name: bytes) -> None:
        child = self._child(directory, name)
        if child.kind != stat.S_IFDIR:
            raise failure(errno.ENOTDIR, name)
        if child.children:
            raise failure(errno.ENOTEMPTY, name)
        self._detach(self._directory(directory), name)

    def rename(
        self, caller: Caller, from_directory: Node, from_name: bytes, to_directory: Node, to_name: bytes
    ) -> Attributes | None:
        check(from_name)
        check(to_name)
        source, target = self._directory(from_directory), self._directory(to_directory)
        node = self._child(source, from_name)
        replaced = target.children.get(to_name)
        if replaced is node:
            return None
        self._refuse_rename(node, source, target, replaced)
        gone = None if replaced is None else self._detach(target, to_name)
        # The new place first: a node without any place is a node that is gone.
        self._attach(target, to_name, node)
        del source.children[from_name]
        node.places.remove((source, from_name))
        source.mtime = source.ctime = node.ctime
        return gone

    @staticmethod
    def _refuse_rename(node: MemoryNode, source: MemoryNode, target: MemoryNode, replaced: MemoryNode | None) -> None:
        step = target
        while node.kind == stat.S_IFDIR and step.places[0][0] is not step:
            if step is node:
                raise failure(errno.EINVAL)
            step = step.places[0][0]
        if replaced is None:
            return
        step = source
        while step is not replaced and step.places[0][0] is not step:
            step = step.places[0][0]
        if step is replaced:  # a directory that the file is in: rename(2) of Linux looks at this first
            raise failure(errno.ENOTEMPTY)
        if node.kind == stat.S_IFDIR:
            if replaced.kind != stat.S_IFDIR:
                raise failure(errno.ENOTDIR)
            if replaced.children:
                raise failure(errno.ENOTEMPTY)
        elif replaced.kind == stat.S_IFDIR:
            raise failure(errno.EISDIR)

    def readdir(self, caller: Caller, directory: Node) -> Listing:
        place = self._directory(directory)
        above = (
            Entry(COOKIE_SELF, b".", place.fileid),
            Entry(COOKIE_PARENT, b"..", place.places[0][0].fileid),
        )
        snapshot = Snapshot(((name, node.fileid) for name, node in place.children.items()), 0)

        def entries(cookie: int) -> Iterator[Entry]:
            return chain(above[cookie:], snapshot.after(cookie))

        return Listing(0, entries)

    # ---- the whole ----

    def statistics(self) -> FileSystemStatistics:
        used = sum(len(node.data) for node in self._nodes.values())
        total = FILE_BYTES_MAX * 16
        count = 1 << 20
        left = count - len(self._nodes)
        return FileSystemStatistics(total, total - used, total - used, count, left, left)

    @property
    def write_verifier(self) -> bytes:
        return self._verifier

    async def close(self) -> None:
        self._nodes.clear()
