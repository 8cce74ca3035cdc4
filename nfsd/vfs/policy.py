"""The policy layer: which paths of a volume may be read and which written, and volumes that are read-only.

Only what the patterns mean is there: a path that may be neither read nor written cannot be looked up (EACCES) and is
not listed; the directories on the way to an allowed path can be looked up and listed, with their allowed children
only. A read-only attachment answers every change with EROFS, whatever the patterns say.

Rights are a path's, and paths change: so a file that is moved or linked must be readable and writable where it is, and
a directory that is moved with everything below it; else `mv` would be the way round the policy. Decisions are
remembered by node, as of the path it was looked up by, until something is renamed.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, NoReturn, TypeVar

from nfsd.vfs.failures import failure
from nfsd.vfs.interface import (
    MAY_EXECUTE,
    MAY_READ,
    MAY_WRITE,
    Attributes,
    Caller,
    Changes,
    CreateHow,
    Entry,
    FileSystem,
    Later,
    Listing,
    Maybe,
    Node,
    ReadResult,
    Stability,
)
from nfsd.vfs.layer import Layer
from nfsd.vfs.patterns import PatternSet, split

T = TypeVar("T")

Path = tuple[bytes, ...]

OnDenied = Callable[[str, bytes, int], None]
"""Called with (operation, path from the root, errno) for each refusal."""

_CHANGES = ("setattr", "write", "create", "mkdir", "symlink", "mknod", "link", "remove", "rmdir", "rename")
_READS = ("lookup", "parent", "peek", "access", "allowed", "readlink", "read", "readdir")


class Rights(NamedTuple):
    """What the policy allows on one path."""

    read: bool
    write: bool
    pass_through: bool
    """A directory on the way to something that is allowed."""

    @property
    def visible(self) -> bool:
        return self.read or self.write or self.pass_through


_EVERYTHING = Rights(read=True, write=True, pass_through=True)


class Verdict:
    """What a node's `verdict` is: good as long as `epoch` is the layer's. `is_open`: everything below it is allowed."""

    __slots__ = ("epoch", "is_open", "rights")

    def __init__(self, epoch: object, rights: Rights, is_open: bool) -> None:
        self.epoch = epoch
        self.rights = rights
        self.is_open = is_open


def _ignore(_operation: str, _path: bytes, _code: int) -> None:
    pass


class Policy(Layer):
    """`read`, `write`: path patterns (`patterns.Pattern`), None for all paths. Neither implies the other."""

    def __init__(
        self,
        inner: FileSystem,
        *,
        read_only: bool = False,
        read: Iterable[str | bytes] | None = None,
        write: Iterable[str | bytes] | None = None,
        on_denied: OnDenied = _ignore,
    ) -> None:
        super().__init__(inner)
        self._read_only = read_only
        self._read = PatternSet(read)
        self._write = PatternSet(write)
        self._on_denied = on_denied
        self._forget()
        unlimited = self._read.unlimited and self._write.unlimited
        if unlimited:
            self.pass_on(*(name for name in _READS if not (read_only and name in ("access", "allowed"))))
            if not read_only:
                self.pass_on(*_CHANGES)

    # ---- decisions ----

    def _forget(self) -> None:
        """Every verdict given so far: paths have changed."""
        self._epoch = object()
        self._all = Verdict(self._epoch, _EVERYTHING, True)  # one for all nodes below an open directory

    def _decide(self, path: Path, kind: int) -> Rights:
        way = kind == stat.S_IFDIR and (self._read.may_match_below(path) or self._write.may_match_below(path))
        return Rights(self._read.matches(path), self._write.matches(path), way)

    def _path(self, node: Node) -> Path:
        return split(self.inner.path(node))

    def _verdict(self, node: Node) -> Verdict:
        verdict = node.verdict
        if type(verdict) is Verdict and verdict.epoch is self._epoch:
            return verdict
        return self._judge(node, self._path(node))

    def _judge(self, node: Node, path: Path) -> Verdict:
        """The verdict on the node as of this path, remembered for what is done to it next."""
        rights = self._decide(path, node.kind)
        is_open = node.kind == stat.S_IFDIR and self._read.covers_below(path) and self._write.covers_below(path)
        verdict = node.verdict = Verdict(self._epoch, rights, is_open)
        return verdict

    def _rights_of(self, node: Node) -> Rights:
        verdict = node.verdict
        if type(verdict) is Verdict and verdict.epoch is self._epoch:  # `_verdict`, without the call
            return verdict.rights
        return self._verdict(node).rights

    def _is_open(self, directory: Node) -> bool:
        """Whether everything below it may be read and written: then there is nothing to decide about a child."""
        verdict = directory.verdict
        if type(verdict) is Verdict and verdict.epoch is self._epoch:
            return verdict.is_open
        return self._verdict(directory).is_open

    def _refuse(self, operation: str, path: Path, code: int = errno.EACCES) -> NoReturn:
        name = b"/".join(path)
        self._on_denied(operation, name, code)
        raise failure(code, name)

    def _demand_changes(self, operation: str, node: Node, name: bytes | None = None) -> None:
        if self._read_only:
            try:
                path = self._path(node)
            except OSError:
                path = ()
            self._refuse(operation, path if name is None else (*path, name), errno.EROFS)

    def _demand_write(self, operation: str, node: Node) -> None:
        self._demand_changes(operation, node)
        if not self._rights_of(node).write:
            self._refuse(operation, self._path(node))

    def _demand_entry(self, operation: str, directory: Node, name: bytes) -> None:
        """The right to make, remove or move the entry."""
        self._demand_changes(operation, directory, name)
        if not self._is_open(directory):
            path = (*self._path(directory), name)
            if not self._write.matches(path):
                self._refuse(operation, path)

    # ---- reading ----

    def lookup(self, caller: Caller, directory: Node, name: bytes) -> tuple[Node, Attributes]:
        found = self.inner.lookup(caller, directory, name)
        if not self._found(found[0], directory, name).visible:
            self._refuse("lookup", (*self._path(directory), name))
        return found

    def _found(self, node: Node, directory: Node, name: bytes) -> Rights:
        """The node's rights as of this path, to be remembered for what is done to it next."""
        if self._is_open(directory):
            node.verdict = self._all
            return _EVERYTHING
        return self._judge(node, (*self._path(directory), name)).rights

    def peek(self, directory: Node, name: bytes) -> tuple[Node, Attributes] | None:
        found = self.inner.peek(directory, name)
        if found is None or not self._found(found[0], directory, name).visible:
            return None
        return found

    def access(self, caller: Caller, node: Node) -> int:
        return self.inner.access(caller, node) & self.allowed(node)

    def allowed(self, node: Node) -> int:
        """A client asks ACCESS before it opens a file, so a file that cannot be written says so here: what is written
        to an open file is cached, and its refusal would come when it is closed, where programs do not look. Of a
        read-only volume's directories it is not said: the client then asks for the change itself and gets EROFS."""
        granted = self.inner.allowed(node)
        rights = self._rights_of(node)
        directory = node.kind == stat.S_IFDIR
        if not (rights.write or (directory and rights.pass_through)) or (self._read_only and not directory):
            granted &= ~MAY_WRITE
        if not rights.read and not (directory and rights.visible):
            granted &= ~(MAY_READ | MAY_EXECUTE)
        return granted

    def readlink(self, caller: Caller, node: Node) -> bytes:
        self._demand_read("readlink", node)
        return self.inner.readlink(caller, node)

    def read(self, caller: Caller, node: Node, offset: int, count: int) -> Maybe[ReadResult]:
        self._demand_read("read", node)
        return self.inner.read(caller, node, offset, count)

    def _demand_read(self, operation: str, node: Node) -> None:
        if not self._rights_of(node).read:
            self._refuse(operation, self._path(node))

    def readdir(self, caller: Caller, directory: Node) -> Maybe[Listing]:
        if not self._rights_of(directory).visible:
            self._refuse("readdir", self._path(directory))
        path = self._path(directory)
        listing = self.inner.readdir(caller, directory)
        if self._read.covers_below(path):
            return listing
        if isinstance(listing, Later):
            return listing.then(lambda done: self._filtered(path, done))
        return self._filtered(path, listing)

    def _filtered(self, path: Path, listing: Listing) -> Listing:
        def entries(cookie: int) -> Iterator[Entry]:
            for entry in listing.entries(cookie):
                # The type is not known here: whatever may have something allowed below it is listed.
                if entry.name in (b".", b"..") or self._decide((*path, entry.name), stat.S_IFDIR).visible:
                    yield entry

        # What is shown depends on the path, so a directory that was moved has another version.
        return Listing(listing.verifier, entries, None if listing.version is None else (path, listing.version))

    # ---- changing ----

    def setattr(self, caller: Caller, node: Node, changes: Changes) -> Maybe[Attributes]:
        self._demand_write("setattr", node)
        return self.inner.setattr(caller, node, changes)

    def write(
        self,
        caller: Caller,
        node: Node,
        offset: int,
        data: memoryview | bytes,
        stability: Stability,
        before: Attributes | None = None,
    ) -> Maybe[Stability]:
        self._demand_write("write", node)
        return self.inner.write(caller, node, offset, data, stability, before)

    def create(
        self, caller: Caller, directory: Node, name: bytes, how: CreateHow, changes: Changes, verifier: bytes = b""
    ) -> Maybe[tuple[Node, Attributes]]:
        self._demand_entry("create", directory, name)
        made = self.inner.create(caller, directory, name, how, changes, verifier)
        if type(made) is tuple and self._is_open(directory):
            made[0].verdict = self._all  # its WRITE and SETATTR come next
        return made

    def mkdir(self, caller: Caller, directory: Node, name: bytes, changes: Changes) -> Maybe[tuple[Node, Attributes]]:
        self._demand_entry("mkdir", directory, name)
        return self.inner.mkdir(caller, directory, name, changes)

    def symlink(
        self, caller: Caller, directory: Node, name: bytes, target: bytes, changes: Changes
    ) -> Maybe[tuple[Node, Attributes]]:
        self._demand_entry("symlink", directory, name)
        return self.inner.symlink(caller, directory, name, target, changes)

    def mknod(
        self, caller: Caller, directory: Node, name: bytes, kind: int, changes: Changes
    ) -> Maybe[tuple[Node, Attributes]]:
        self._demand_entry("mknod", directory, name)
        return self.inner.mknod(caller, directory, name, kind, changes)

    def link(self, caller: Caller, node: Node, directory: Node, name: bytes) -> Maybe[Attributes]:
        self._demand_entry("link", directory, name)
        if not (self._rights_of(node).read and self._rights_of(node).write):
            self._refuse("link", self._path(node))
        return self.inner.link(caller, node, directory, name)

    def remove(self, caller: Caller, directory: Node, name: bytes) -> Maybe[Attributes | None]:
        self._demand_entry("remove", directory, name)
        return self.inner.remove(caller, directory, name)

    def rmdir(self, caller: Caller, directory: Node, name: bytes) -> Maybe[None]:
        self._demand_entry("rmdir", directory, name)
        return self.inner.rmdir(caller, directory, name)

    def rename(
        self, caller: Caller, from_directory: Node, from_name: bytes, to_directory: Node, to_name: bytes
    ) -> Maybe[Attributes | None]:
        self._demand_entry("rename", from_directory, from_name)
        self._demand_entry("rename", to_directory, to_name)
        path = (*self._path(from_directory), from_name)
        found = self.inner.peek(from_directory, from_name)
        if found is not None and not self._may_move(path, found[0].kind):
            self._refuse("rename", path)
        result = self.inner.rename(caller, from_directory, from_name, to_directory, to_name)
        if found is None or found[0].kind == stat.S_IFDIR:
            self._forget()  # also what lies below a directory that moved
        else:
            found[0].verdict = None
        return result

    def _may_move(self, path: Path, kind: int) -> bool:
        if kind == stat.S_IFDIR:
            return self._read.covers_below(path) and self._write.covers_below(path)
        return self._read.matches(path)
