"""The squash layer: whoever calls is the owner of everything, and everything is shown as his.

One volume belongs to one execution with one uid and gid; who the file belongs to on the host (the daemon's user) is
nobody's business. So permission is a question of the owner's bits alone, answered from `node.mode` without a system
call. Squashed to uid 0, callers have the superuser's rights.

What is not refused: READ, WRITE and a change of size, whatever the file's mode. A POSIX client checks permission
when a file is opened, and goes on writing to a file that was chmodded to 0444 meanwhile; NFSv3 has no open, so servers
let the owner (here: everybody) through, and ACCESS, which the client asks at open, tells the truth (RFC 1813
section 4.4).
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
    Stability,
)
from nfsd.vfs.layer import Layer
from nfsd.vfs.permissions import superuser_access

_MAY_CHANGE_NAMES = MAY_WRITE | MAY_EXECUTE


def _demand(directory: Node, wanted: int) -> None:
    if directory.mode >> 6 & wanted != wanted:
        raise failure(errno.EACCES)


class Squash(Layer):
    """Every caller is `uid`:`gid`. `chown`: what happens to a change of owner to somebody else: "accept" does as if
    (a `tar x` by root goes on), "deny" raises EPERM, as for an ordinary user."""

    def __init__(self, inner: FileSystem, uid: int, gid: int, chown: str = "accept") -> None:
        if chown not in ("accept", "deny"):
            raise ValueError(f'chown {chown!r}: wanted "accept" or "deny"')
        super().__init__(inner)
        self.shown_uid = uid
        self.shown_gid = gid
        self._caller = Caller(uid, gid)
        self._deny_chown = chown == "deny"
        # Never refused, and the backend does not look at the caller:
        self.pass_on("read", "commit", "readlink")
        if uid == 0:
            self.pass_on("lookup", "parent", "link", "remove", "rmdir", "rename", "readdir")

    def access(self, caller: Caller, node: Node) -> int:
        if self._caller.uid == 0:
            return superuser_access(self.inner.getattr(node).st_mode) & self.inner.allowed(node)
        return node.mode >> 6 & self.inner.allowed(node)

    def _demand_names(self, directory: Node) -> None:
        if self._caller.uid != 0 and directory.kind == stat.S_IFDIR:
            _demand(directory, _MAY_CHANGE_NAMES)

    def lookup(self, caller: Caller, directory: Node, name: bytes) -> tuple[Node, Attributes]:
        if not directory.mode & stat.S_IXUSR and directory.kind == stat.S_IFDIR:
            raise failure(errno.EACCES)
        return self.inner.lookup(caller, directory, name)

    def parent(self, caller: Caller, directory: Node) -> tuple[Node, Attributes]:
        if directory.kind == stat.S_IFDIR:
            _demand(directory, MAY_EXECUTE)
        return self.inner.parent(caller, directory)

    def readdir(self, caller: Caller, directory: Node) -> Maybe[Listing]:
        if directory.kind == stat.S_IFDIR:
            _demand(directory, MAY_READ)
        return self.inner.readdir(caller, directory)

    def setattr(self, caller: Caller, node: Node, changes: Changes) -> Maybe[Attributes]:
        if changes.uid is not None or changes.gid is not None:
            changes = self._chown(node, changes)
        return self.inner.setattr(self._caller, node, changes)

    def _chown(self, node: Node, changes: Changes) -> Changes:
        """As if it had happened: on the host it goes to the owner it has already, so ctime moves, and setuid and setgid
        go, the superuser's too (chown(2))."""
        self._refuse_chown(changes)
        return changes._replace(uid=self.inner.getattr(node).st_uid, gid=None)

    def _refuse_chown(self, changes: Changes) -> None:
        own = changes.uid in (None, self.shown_uid) and changes.gid in (None, self.shown_gid)
        if not own and self._deny_chown:
            raise failure(errno.EPERM)

    def _own(self, changes: Changes) -> Changes:
        """For a new file: it is its creator's, whatever else was asked."""
        if changes.uid is changes.gid is None:
            return changes
        self._refuse_chown(changes)
        return changes._replace(uid=None, gid=None)

    def write(
        self,
        caller: Caller,
        node: Node,
        offset: int,
        data: memoryview | bytes,
        stability: Stability,
        before: Attributes | None = None,
    ) -> Maybe[Stability]:
        return self.inner.write(self._caller, node, offset, data, stability, before)

    def create(
        self, caller: Caller, directory: Node, name: bytes, how: CreateHow, changes: Changes, verifier: bytes = b""
    ) -> Maybe[tuple[Node, Attributes]]:
        self._demand_names(directory)
        return self.inner.create(self._caller, directory, name, how, self._own(changes), verifier)

    def mkdir(self, caller: Caller, directory: Node, name: bytes, changes: Changes) -> Maybe[tuple[Node, Attributes]]:
        self._demand_names(directory)
        return self.inner.mkdir(self._caller, directory, name, self._own(changes))

    def symlink(
        self, caller: Caller, directory: Node, name: bytes, target: bytes, changes: Changes
    ) -> Maybe[tuple[Node, Attributes]]:
        self._demand_names(directory)
        return self.inner.symlink(self._caller, directory, name, target, self._own(changes))

    def mknod(
        self, caller: Caller, directory: Node, name: bytes, kind: int, changes: Changes
    ) -> Maybe[tuple[Node, Attributes]]:
        self._demand_names(directory)
        return self.inner.mknod(self._caller, directory, name, kind, self._own(changes))

    def link(self, caller: Caller, node: Node, directory: Node, name: bytes) -> Maybe[Attributes]:
        self._demand_names(directory)
        return self.inner.link(self._caller, node, directory, name)

    def remove(self, caller: Caller, directory: Node, name: bytes) -> Maybe[Attributes | None]:
        self._demand_names(directory)
        return self.inner.remove(self._caller, directory, name)

    def rmdir(self, caller: Caller, directory: Node, name: bytes) -> Maybe[None]:
        self._demand_names(directory)
        return self.inner.rmdir(self._caller, directory, name)

    def rename(
        self, caller: Caller, from_directory: Node, from_name: bytes, to_directory: Node, to_name: bytes
    ) -> Maybe[Attributes | None]:
        self._demand_names(from_directory)
        self._demand_names(to_directory)
        if from_directory is not to_directory:
            self._demand_move(from_directory, from_name)
        return self.inner.rename(self._caller, from_directory, from_name, to_directory, to_name)

    def _demand_move(self, directory: Node, name: bytes) -> None:
        """A directory that gets another parent is written to: its `..` changes (as Linux' vfs_rename demands)."""
        found = self.inner.peek(directory, name)
        if found is not None and found[0].kind == stat.S_IFDIR:
            _demand(found[0], MAY_WRITE)
