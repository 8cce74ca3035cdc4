"""The quota layer: what would make the volume larger than its ledger allows is refused with ENOSPC, before it is done.

Claim, act, settle: the space is claimed first, then the inner file system acts, and what was not used after all
(an error, a part of a write) is given back. Overwriting costs nothing; deleting gives back with the last name;
truncating goes both ways. While the volume is counted (recount.py) a file is shown to the count before it is changed,
moved or removed. A flush that fails after the deed was done (EIO) leaves a deletion counted until the next
recount. Sizes are asked of the inner file system each time, never remembered, but for one case: a
file whose cut-off is still under way in a thread, whose size on disk is either of two.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from typing import TypeVar

from nfsd.vfs.interface import (
    Attributes,
    Caller,
    Changes,
    CreateHow,
    FileSystem,
    FileSystemStatistics,
    Later,
    Maybe,
    Node,
    Stability,
)
from nfsd.vfs.layer import Layer
from nfsd.vfs.ledger import Cut, Ledger
from nfsd.vfs.recount import charge

T = TypeVar("T")


class Quota(Layer):
    """Holds the volume to its ledger. Several layers, of several attachments, may share one ledger."""

    def __init__(self, inner: FileSystem, ledger: Ledger) -> None:
        super().__init__(inner)
        self._ledger = ledger
        self._cuts = ledger.cuts
        if ledger.files_max is None:
            self.pass_on("mkdir", "mknod", "rmdir")

    # ---- data ----

    def _size(self, node: Node) -> int:
        cut = self._cuts.get(node)
        if cut is not None:
            return cut.accounted
        return self.inner.getattr(node).st_size

    def write(
        self,
        caller: Caller,
        node: Node,
        offset: int,
        data: memoryview | bytes,
        stability: Stability,
        before: Attributes | None = None,
    ) -> Maybe[Stability]:
        if node.kind != stat.S_IFREG:
            return self.inner.write(caller, node, offset, data, stability, before)
        end = offset + len(data)
        size = self._size(node) if self._cuts or before is None else before.st_size
        if end <= size or not len(data):
            return self.inner.write(caller, node, offset, data, stability, before)
        self._saw(node, size)
        self._ledger.claim(end - size)
        try:
            # Later means that a flush is waited for: the file has its size already, whatever becomes of the flush.
            result = self.inner.write(caller, node, offset, data, stability, before)
        except BaseException:
            grown = self._grown_to(node, size, end)
            self._ledger.settle(grown - end)
            self._account_cut(node, grown)
            raise
        self._account_cut(node, end)
        return result

    def _grown_to(self, node: Node, size: int, end: int) -> int:
        """How far a failed write got."""
        try:
            return min(max(self.inner.getattr(node).st_size, size), end)
        except OSError:
            return size

    def _account_cut(self, node: Node, size: int) -> None:
        cut = self._cuts.get(node) if self._cuts else None
        if cut is not None:
            cut.accounted = size

    def setattr(self, caller: Caller, node: Node, changes: Changes) -> Maybe[Attributes]:
        if changes.size is None or node.kind != stat.S_IFREG:
            return self.inner.setattr(caller, node, changes)
        size = self._size(node)
        self._saw(node, size)
        growth = max(0, changes.size - size)
        self._ledger.claim(growth)
        try:
            result = self.inner.setattr(caller, node, changes)
        except BaseException:
            self._ledger.settle(-growth)
            raise
        if type(result) is Later:
            return self._cut_off(node, size + growth, result)
        self._ledger.settle(min(0, changes.size - size))
        self._account_cut(node, changes.size)
        return result

    def _cut_off(self, node: Node, accounted: int, result: Later[Attributes]) -> Later[Attributes]:
        """The size changes in a thread, or has changed and is being flushed: true up when nothing is under way."""
        cut = self._cuts.setdefault(node, Cut(accounted))
        cut.accounted = accounted
        cut.pending += 1

        def ended() -> None:
            cut.pending -= 1
            if cut.pending or self._cuts.get(node) is not cut:
                return
            del self._cuts[node]
            try:
                size = self.inner.getattr(node).st_size
            except OSError:
                return  # gone, which is accounted for by whoever removes it; or moved by the host: stays counted
            self._ledger.settle(size - cut.accounted)
            cut.accounted = size  # for a removal that is under way

        def done(attributes: Attributes) -> Attributes:
            ended()
            return attributes

        return result.then(done, lambda _error: ended())

    # ---- names ----

    def create(
        self, caller: Caller, directory: Node, name: bytes, how: CreateHow, changes: Changes, verifier: bytes = b""
    ) -> Maybe[tuple[Node, Attributes]]:
        ledger = self._ledger
        if changes.size is None and ledger.files_max is None:
            return self.inner.create(caller, directory, name, how, changes, verifier)
        found = self.inner.peek(directory, name) if directory.kind == stat.S_IFDIR else None
        if found is not None and how == CreateHow.UNCHECKED and changes.size is not None:
            return self._recreate(caller, directory, name, changes, found[0])
        if found is not None or directory.kind != stat.S_IFDIR:
            return self.inner.create(caller, directory, name, how, changes, verifier)
        size = changes.size or 0 if how != CreateHow.EXCLUSIVE else 0
        return self._claimed(
            size, directory, name, lambda: self.inner.create(caller, directory, name, how, changes, verifier)
        )

    def _recreate(
        self, caller: Caller, directory: Node, name: bytes, changes: Changes, node: Node
    ) -> Maybe[tuple[Node, Attributes]]:
        """CREATE of a file that exists changes its size: as SETATTR does."""
        made = self.inner.create(caller, directory, name, CreateHow.UNCHECKED, changes._replace(size=None))
        if type(made) is Later:
            return made.then(lambda _made: _with(node, self.setattr(caller, node, Changes(size=changes.size))))
        return _with(node, self.setattr(caller, node, Changes(size=changes.size)))

    def _claimed(self, size: int, directory: Node, name: bytes, act: Callable[[], T]) -> T:
        """Claim for a new file, act, and give back when that failed. A `Later` of `act` only waits for a flush: it has
        happened."""
        self._ledger.claim(size, 1)
        try:
            result = act()
        except BaseException:
            self._ledger.settle(-size, -1)
            raise
        if self._ledger.counting is not None:
            found = self._found(directory, name)
            if found is not None:
                self._ledger.counting.born(found[0].fileid)
        return result

    def mkdir(self, caller: Caller, directory: Node, name: bytes, changes: Changes) -> Maybe[tuple[Node, Attributes]]:
        return self._claimed(0, directory, name, lambda: self.inner.mkdir(caller, directory, name, changes))

    def mknod(
        self, caller: Caller, directory: Node, name: bytes, kind: int, changes: Changes
    ) -> Maybe[tuple[Node, Attributes]]:
        return self._claimed(0, directory, name, lambda: self.inner.mknod(caller, directory, name, kind, changes))

    def symlink(
        self, caller: Caller, directory: Node, name: bytes, target: bytes, changes: Changes
    ) -> Maybe[tuple[Node, Attributes]]:
        return self._claimed(
            len(target), directory, name, lambda: self.inner.symlink(caller, directory, name, target, changes)
        )

    def remove(self, caller: Caller, directory: Node, name: bytes) -> Maybe[Attributes | None]:
        held = self._held(directory, name) if self._cuts else None
        self._saw_name(directory, name)
        return self._give_back(self.inner.remove(caller, directory, name), held)

    def rename(
        self, caller: Caller, from_directory: Node, from_name: bytes, to_directory: Node, to_name: bytes
    ) -> Maybe[Attributes | None]:
        held = self._held(to_directory, to_name) if self._cuts else None
        moved = self._saw_name(from_directory, from_name)
        self._saw_name(to_directory, to_name)
        result = self.inner.rename(caller, from_directory, from_name, to_directory, to_name)
        if moved is not None and moved.kind == stat.S_IFDIR:
            self._moved(moved, to_directory, to_name)
        return self._give_back(result, held)

    def rmdir(self, caller: Caller, directory: Node, name: bytes) -> Maybe[None]:
        self._saw_name(directory, name)
        result = self.inner.rmdir(caller, directory, name)
        self._ledger.settle(0, -1)  # Later means that a flush is waited for: the name is gone
        return result

    def _held(self, directory: Node, name: bytes) -> tuple[Node, Cut] | None:
        """The file of this name, when its size is changing: what is held for it is what its removal gives back.

        Looked up before the removal: afterwards its number may be another file's.
        """
        found = self._found(directory, name)
        cut = None if found is None else self._cuts.get(found[0])
        return None if found is None or cut is None else (found[0], cut)

    def _give_back(self, result: Maybe[Attributes | None], held: tuple[Node, Cut] | None) -> Maybe[Attributes | None]:
        if type(result) is Later:
            return result.then(lambda attributes: self._gone(attributes, held))
        return self._gone(result, held)  # type: ignore[arg-type]  # mypy does not narrow by `type() is`

    def _gone(self, attributes: Attributes | None, held: tuple[Node, Cut] | None) -> Attributes | None:
        if attributes is not None:
            size = charge(attributes)
            if held is not None:
                node, cut = held
                size = cut.accounted
                if self._cuts.get(node) is cut:
                    del self._cuts[node]
            self._ledger.settle(-size, -1)
        return attributes

    def _found(self, directory: Node, name: bytes) -> tuple[Node, Attributes] | None:
        """The file of a name; None also where the operation itself will say what is wrong."""
        try:
            return self.inner.peek(directory, name) if directory.kind == stat.S_IFDIR else None
        except OSError:
            return None

    # ---- while the volume is counted ----

    def _cost(self, node: Node, attributes: Attributes) -> int:
        cut = self._cuts.get(node)
        return charge(attributes) if cut is None else cut.accounted

    def _saw(self, node: Node, size: int) -> None:
        """Show a file to the count, before it is changed."""
        if self._ledger.counting is not None:
            self._ledger.counting.saw(node.fileid, size)

    def _saw_name(self, directory: Node, name: bytes) -> Node | None:
        """Show the file of this name, before the name goes; the file."""
        if self._ledger.counting is None:
            return None
        found = self._found(directory, name)
        if found is None:
            return None
        node, attributes = found
        self._saw(node, self._cost(node, attributes))
        return node

    def _moved(self, node: Node, directory: Node, name: bytes) -> None:
        """A directory is elsewhere now: what is in it may lie behind the walk and never have been before it."""
        assert self._ledger.counting is not None  # `_saw_name` found the node, in this very turn
        try:
            above = self.inner.path(directory)
        except OSError:
            self._ledger.counting.moved(node.fileid, None)
        else:
            self._ledger.counting.moved(node.fileid, (*(above.split(b"/") if above else ()), name))

    # ---- the whole ----

    def statistics(self) -> FileSystemStatistics:
        """The ledger's limit and what is left of it, or of the disk if that is less."""
        host, ledger = self.inner.statistics(), self._ledger
        bytes_used, files_used = ledger.shown
        left = max(0, min(ledger.bytes_max - bytes_used, host.bytes_available))
        total = ledger.bytes_max
        if ledger.files_max is None:
            return FileSystemStatistics(total, left, left, host.files_total, host.files_free, host.files_available)
        files_left = max(0, min(ledger.files_max - files_used, host.files_available))
        return FileSystemStatistics(total, left, left, ledger.files_max, files_left, files_left)


def _with(node: Node, result: Maybe[Attributes]) -> Maybe[tuple[Node, Attributes]]:
    if isinstance(result, Later):
        return result.then(lambda attributes: (node, attributes))
    return node, result
