"""What the layers of the stack share: everything a layer does not define is the inner file system's own bound method.

So a layer costs nothing for what it leaves alone: `stack.getattr` is the backend's method itself, however many
layers lie between that have nothing to say to GETATTR.
"""

from __future__ import annotations

from nfsd.vfs.interface import (
    Attributes,
    Caller,
    Changes,
    CreateHow,
    FileSystem,
    FileSystemStatistics,
    Listing,
    Maybe,
    Node,
    ReadResult,
    Stability,
)

OPERATIONS = (
    "find", "lookup", "parent", "peek", "path", "settle_owner", "getattr", "before", "after", "setattr", "access",
    "allowed", "readlink", "read", "write", "commit", "create", "mkdir", "symlink", "mknod", "link", "remove", "rmdir",
    "rename", "readdir", "statistics",
)  # fmt: skip
"""Every method of `FileSystem` but `close`; the properties are passed on as properties."""


class Layer(FileSystem):
    """Passes everything on to `inner`. Subclasses define what they change and call `self.inner` for the rest."""

    def __init__(self, inner: FileSystem) -> None:
        self.inner = inner
        self._backend: FileSystem = inner._backend if isinstance(inner, Layer) else inner
        self.shown_uid = inner.shown_uid
        self.shown_gid = inner.shown_gid
        for name in OPERATIONS:
            if getattr(type(self), name) is getattr(Layer, name):
                self.pass_on(name)

    def pass_on(self, *names: str) -> None:
        """Leave these operations to the inner file system, for a layer that has nothing to do as it is configured."""
        for name in names:
            self.__dict__[name] = getattr(self.inner, name)

    @property
    def root(self) -> Node:
        return self._backend.root

    @property
    def write_verifier(self) -> bytes:
        return self._backend.write_verifier

    def find(self, fileid: int, generation: int) -> Maybe[Node]:
        return self.inner.find(fileid, generation)

    def lookup(self, caller: Caller, directory: Node, name: bytes) -> tuple[Node, Attributes]:
        return self.inner.lookup(caller, directory, name)

    def parent(self, caller: Caller, directory: Node) -> tuple[Node, Attributes]:
        return self.inner.parent(caller, directory)

    def peek(self, directory: Node, name: bytes) -> tuple[Node, Attributes] | None:
        return self.inner.peek(directory, name)

    def path(self, node: Node) -> bytes:
        return self.inner.path(node)

    def settle_owner(self, uid: int, gid: int) -> tuple[int, int]:
        return self.inner.settle_owner(uid, gid)

    def getattr(self, node: Node) -> Attributes:
        return self.inner.getattr(node)

    def before(self, node: Node) -> Attributes:
        return self.inner.before(node)

    def after(self, node: Node) -> Attributes:
        return self.inner.after(node)

    def setattr(self, caller: Caller, node: Node, changes: Changes) -> Maybe[Attributes]:
        return self.inner.setattr(caller, node, changes)

    def access(self, caller: Caller, node: Node) -> int:
        return self.inner.access(caller, node)

    def allowed(self, node: Node) -> int:
        return self.inner.allowed(node)

    def readlink(self, caller: Caller, node: Node) -> bytes:
        return self.inner.readlink(caller, node)

    def read(self, caller: Caller, node: Node, offset: int, count: int) -> Maybe[ReadResult]:
        return self.inner.read(caller, node, offset, count)

    def write(
        self,
        caller: Caller,
        node: Node,
        offset: int,
        data: memoryview | bytes,
        stability: Stability,
        before: Attributes | None = None,
    ) -> Maybe[Stability]:
        return self.inner.write(caller, node, offset, data, stability, before)

    def commit(self, caller: Caller, node: Node, offset: int, count: int) -> Maybe[None]:
        return self.inner.commit(caller, node, offset, count)

    def create(
        self, caller: Caller, directory: Node, name: bytes, how: CreateHow, changes: Changes, verifier: bytes = b""
    ) -> Maybe[tuple[Node, Attributes]]:
        return self.inner.create(caller, directory, name, how, changes, verifier)

    def mkdir(self, caller: Caller, directory: Node, name: bytes, changes: Changes) -> Maybe[tuple[Node, Attributes]]:
        return self.inner.mkdir(caller, directory, name, changes)

    def symlink(
        self, caller: Caller, directory: Node, name: bytes, target: bytes, changes: Changes
    ) -> Maybe[tuple[Node, Attributes]]:
        return self.inner.symlink(caller, directory, name, target, changes)

    def mknod(
        self, caller: Caller, directory: Node, name: bytes, kind: int, changes: Changes
    ) -> Maybe[tuple[Node, Attributes]]:
        return self.inner.mknod(caller, directory, name, kind, changes)

    def link(self, caller: Caller, node: Node, directory: Node, name: bytes) -> Maybe[Attributes]:
        return self.inner.link(caller, node, directory, name)

    def remove(self, caller: Caller, directory: Node, name: bytes) -> Maybe[Attributes | None]:
        return self.inner.remove(caller, directory, name)

    def rmdir(self, caller: Caller, directory: Node, name: bytes) -> Maybe[None]:
        return self.inner.rmdir(caller, directory, name)

    def rename(
        self, caller: Caller, from_directory: Node, from_name: bytes, to_directory: Node, to_name: bytes
    ) -> Maybe[Attributes | None]:
        return self.inner.rename(caller, from_directory, from_name, to_directory, to_name)

    def readdir(self, caller: Caller, directory: Node) -> Maybe[Listing]:
        return self.inner.readdir(caller, directory)

    def statistics(self) -> FileSystemStatistics:
        return self.inner.statistics()

    async def close(self) -> None:
        await self.inner.close()
