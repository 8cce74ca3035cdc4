"""The mapped layer: several users in one volume, told apart by the AUTH_SYS ids of each call, as a local disk would.

Owner, group and mode of a file are what the clients set; the backend keeps them beside files that all belong to the
daemon's user on the host. This layer decides who may do what, from `node.mode` and `node.ids`, without a system call:
Linux's rules (fs/namei.c may_delete, may_create, vfs_rename; fs/attr.c setattr_prepare), so that a program sees on the
mount what it sees on ext4. uid 0 is the superuser of the volume.

Where NFSv3 cannot be as exact, because it has no open: READ, WRITE and a change of size are never refused to the
file's owner, and READ is allowed with execute permission alone, since a client has to read what it runs (RFC 1813
section 4.4). Who is neither loses an open file with the permission for it.

AUTH_SYS proves nothing: who may connect at all may be anybody. And it carries 16 supplementary groups, no more.
"""

from __future__ import annotations

import errno
import stat

from nfsd.vfs.failures import failure
from nfsd.vfs.interface import (
    MAY_EXECUTE,
    MAY_READ,
    MAY_WRITE,
    Attributes,
    Caller,
    Changes,
    CreateHow,
    FileSystem,
    Listing,
    Maybe,
    Node,
    ReadResult,
    Stability,
)
from nfsd.vfs.layer import Layer
from nfsd.vfs.permissions import granted, in_group, refuse_changes, without_set_id

_MAY_CHANGE_NAMES = MAY_WRITE | MAY_EXECUTE
_RUNS_AS_GROUP = stat.S_ISGID | stat.S_IXGRP


class Mapped(Layer):
    """`uid`, `gid`: the volume's owner, if nobody has settled it before (`FileSystem.settle_owner`)."""

    def __init__(self, inner: FileSystem, uid: int, gid: int) -> None:
        super().__init__(inner)
        self._owner = inner.settle_owner(uid, gid)
        self.pass_on("commit", "readlink")  # whoever has the handle could look the file up

    # ---- who may what ----

    def _granted(self, caller: Caller, node: Node) -> int:
        return granted(node.mode, node.ids or self._owner, caller)

    def _owns(self, caller: Caller, node: Node) -> bool:
        """The owner, or the superuser."""
        return caller.uid == 0 or caller.uid == (node.ids or self._owner)[0]

    def _demand(self, caller: Caller, node: Node, wanted: int) -> None:
        if self._granted(caller, node) & wanted != wanted:
            raise failure(errno.EACCES)

    def _demand_new_name(self, caller: Caller, directory: Node, name: bytes) -> None:
        """The right to make a name: may_create, which comes after the look whether it is there already."""
        if directory.kind != stat.S_IFDIR:
            return
        may = self._granted(caller, directory)
        if may & _MAY_CHANGE_NAMES != _MAY_CHANGE_NAMES:
            there = may & MAY_EXECUTE and self.inner.peek(directory, name) is not None
            raise failure(errno.EEXIST if there else errno.EACCES, name)

    def _demand_taking(self, caller: Caller, directory: Node, name: bytes) -> None:
        """The right to take a name away, or to put another file in its place: may_delete."""
        if caller.uid == 0 or directory.kind != stat.S_IFDIR:
            return
        may = self._granted(caller, directory)
        if not may & MAY_EXECUTE:
            raise failure(errno.EACCES)
        sticky = directory.mode & stat.S_ISVTX and not self._owns(caller, directory)
        if may & MAY_WRITE and not sticky:
            return
        found = self.inner.peek(directory, name)
        if not may & MAY_WRITE:
            raise failure(errno.ENOENT if found is None else errno.EACCES, name)
        if found is not None and not self._owns(caller, found[0]):
            raise failure(errno.EPERM, name)

    def access(self, caller: Caller, node: Node) -> int:
        return self._granted(caller, node) & self.inner.allowed(node)

    # ---- looking ----

    def lookup(self, caller: Caller, directory: Node, name: bytes) -> tuple[Node, Attributes]:
        if directory.kind == stat.S_IFDIR and not self._granted(caller, directory) & MAY_EXECUTE:
            raise failure(errno.EACCES)
        return self.inner.lookup(caller, directory, name)

    def parent(self, caller: Caller, directory: Node) -> tuple[Node, Attributes]:
        if directory.kind == stat.S_IFDIR:
            self._demand(caller, directory, MAY_EXECUTE)
        return self.inner.parent(caller, directory)

    def readdir(self, caller: Caller, directory: Node) -> Maybe[Listing]:
        if directory.kind == stat.S_IFDIR:
            self._demand(caller, directory, MAY_READ)
        return self.inner.readdir(caller, directory)

    def read(self, caller: Caller, node: Node, offset: int, count: int) -> Maybe[ReadResult]:
        if not self._owns(caller, node) and not self._granted(caller, node) & (MAY_READ | MAY_EXECUTE):
            raise failure(errno.EACCES)
        return self.inner.read(caller, node, offset, count)

    # ---- changing files ----

    def write(
        self,
        caller: Caller,
        node: Node,
        offset: int,
        data: memoryview | bytes,
        stability: Stability,
        before: Attributes | None = None,
    ) -> Maybe[Stability]:
        if not self._owns(caller, node):
            self._demand(caller, node, MAY_WRITE)
        return self.inner.write(caller, node, offset, data, stability, before)

    def setattr(self, caller: Caller, node: Node, changes: Changes) -> Maybe[Attributes]:
        if caller.uid != 0:
            ids = node.ids or self._owner
            refuse_changes(ids, self._granted(caller, node), caller, changes)
            if changes.mode is not None and changes.mode & stat.S_ISGID:
                gid = ids[1] if changes.gid is None else changes.gid
                if not in_group(caller, gid):  # he may not make a program run as a group that is not his
                    changes = changes._replace(mode=changes.mode & ~stat.S_ISGID)
            elif changes.mode is None and (changes.uid is not None or changes.gid is not None):
                changes = self._chown_by_a_stranger(caller, node, ids, changes)
        return self.inner.setattr(caller, node, changes)

    @staticmethod
    def _chown_by_a_stranger(caller: Caller, node: Node, ids: tuple[int, int], changes: Changes) -> Changes:
        """An owner outside of the file's group takes setgid from it in any case (setattr_should_drop_sgid)."""
        if not node.mode & stat.S_ISGID or node.kind in (stat.S_IFDIR, stat.S_IFLNK) or in_group(caller, ids[1]):
            return changes
        return changes._replace(mode=without_set_id(stat.S_IMODE(node.mode), member=False))

    # ---- making ----

    def _made_by(self, caller: Caller, directory: Node, changes: Changes, kind: int) -> Changes:
        """A new file is its maker's, and of his group or, in a setgid directory, of the directory's (inode_init_owner).

        Other ids that he asked for count as far as he could give the file away; the volume's owner is left unsaid.
        """
        inherits = directory.mode & stat.S_ISGID
        ids = (caller.uid, (directory.ids or self._owner)[1] if inherits else caller.gid)
        if changes.uid is not None or changes.gid is not None:
            wanted = (ids[0] if changes.uid is None else changes.uid, ids[1] if changes.gid is None else changes.gid)
            if caller.uid != 0:
                refuse_changes(ids, 0, caller, Changes(uid=wanted[0], gid=wanted[1]))
            ids = wanted
        mode = changes.mode
        if (
            kind != stat.S_IFDIR
            and mode is not None
            and mode & _RUNS_AS_GROUP == _RUNS_AS_GROUP
            and not in_group(caller, ids[1])
        ):
            mode &= ~stat.S_ISGID
        if ids == self._owner:
            return changes._replace(mode=mode, uid=None, gid=None)
        return changes._replace(mode=mode, uid=ids[0], gid=ids[1])

    def create(
        self, caller: Caller, directory: Node, name: bytes, how: CreateHow, changes: Changes, verifier: bytes = b""
    ) -> Maybe[tuple[Node, Attributes]]:
        if directory.kind == stat.S_IFDIR:
            may = self._granted(caller, directory)
            if not may & MAY_EXECUTE:
                raise failure(errno.EACCES)
            truncates = how == CreateHow.UNCHECKED and changes.size is not None
            if truncates or not may & MAY_WRITE:
                self._demand_existing(caller, directory, name, may, truncates)
        new = self._made_by(caller, directory, changes, stat.S_IFREG)
        return self.inner.create(caller, directory, name, how, new, verifier)

    def _demand_existing(self, caller: Caller, directory: Node, name: bytes, may: int, truncates: bool) -> None:
        """CREATE of a name that is there opens the file: the directory need not be writable, but the file, to be cut
        off."""
        found = self.inner.peek(directory, name)
        if found is None:
            if not may & MAY_WRITE:
                raise failure(errno.EACCES)
        elif truncates and found[0].kind == stat.S_IFREG and not self._owns(caller, found[0]):
            self._demand(caller, found[0], MAY_WRITE)

    def mkdir(self, caller: Caller, directory: Node, name: bytes, changes: Changes) -> Maybe[tuple[Node, Attributes]]:
        self._demand_new_name(caller, directory, name)
        return self.inner.mkdir(caller, directory, name, self._made_by(caller, directory, changes, stat.S_IFDIR))

    def symlink(
        self, caller: Caller, directory: Node, name: bytes, target: bytes, changes: Changes
    ) -> Maybe[tuple[Node, Attributes]]:
        self._demand_new_name(caller, directory, name)
        new = self._made_by(caller, directory, changes, stat.S_IFLNK)
        return self.inner.symlink(caller, directory, name, target, new)

    def mknod(
        self, caller: Caller, directory: Node, name: bytes, kind: int, changes: Changes
    ) -> Maybe[tuple[Node, Attributes]]:
        self._demand_new_name(caller, directory, name)
        return self.inner.mknod(caller, directory, name, kind, self._made_by(caller, directory, changes, kind))

    def link(self, caller: Caller, node: Node, directory: Node, name: bytes) -> Maybe[Attributes]:
        self._demand_new_name(caller, directory, name)
        return self.inner.link(caller, node, directory, name)

    # ---- names that go and move ----

    def remove(self, caller: Caller, directory: Node, name: bytes) -> Maybe[Attributes | None]:
        self._demand_taking(caller, directory, name)
        return self.inner.remove(caller, directory, name)

    def rmdir(self, caller: Caller, directory: Node, name: bytes) -> Maybe[None]:
        self._demand_taking(caller, directory, name)
        return self.inner.rmdir(caller, directory, name)

    def rename(
        self, caller: Caller, from_directory: Node, from_name: bytes, to_directory: Node, to_name: bytes
    ) -> Maybe[Attributes | None]:
        if caller.uid != 0 and from_directory.kind == to_directory.kind == stat.S_IFDIR:
            self._demand(caller, from_directory, MAY_EXECUTE)
            self._demand(caller, to_directory, MAY_EXECUTE)
            found = self.inner.peek(from_directory, from_name)
            if found is not None:  # what is not there is told before what is not allowed
                self._demand_taking(caller, from_directory, from_name)
                self._demand(caller, to_directory, MAY_WRITE)
                self._demand_taking(caller, to_directory, to_name)
                if found[0].kind == stat.S_IFDIR and from_directory is not to_directory:
                    self._demand_move(caller, found[0], to_directory, to_name)
        return self.inner.rename(caller, from_directory, from_name, to_directory, to_name)

    def _demand_move(self, caller: Caller, moved: Node, directory: Node, name: bytes) -> None:
        """A directory that gets another parent is written to: its `..` changes. Looked at only behind what it may
        replace (vfs_rename): over anything but a directory the backend says ENOTDIR."""
        replaced = self.inner.peek(directory, name)
        if replaced is None or replaced[0].kind == stat.S_IFDIR:
            self._demand(caller, moved, MAY_WRITE)
