"""A bounded cache of open descriptors: directories that names are resolved from, files that are read and written.

The rule: a descriptor taken from here is good until the next one is asked for, or as long as it is pinned. Threads and
`FileRange`s pin; everything else uses it in the same turn of the loop. Eviction is second chance ("clock"): marking a
node as used costs one store on the hot path, where moving it in a list would cost a call.
"""

from __future__ import annotations

import os
import resource
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nfsd.vfs.nodes import LocalNode

DESCRIPTORS_MIN = 16
"""Below this a rename of a deep tree would evict what it needs itself."""


def _allowed() -> int:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 65536 if soft == resource.RLIM_INFINITY else min(soft, 65536)


def default_limit() -> int:
    """A quarter of RLIMIT_NOFILE for one volume."""
    return max(DESCRIPTORS_MIN, _allowed() // 4)


class Budget:
    """Half of RLIMIT_NOFILE for all volumes of the process; the rest is for sockets and the embedder's own files.
    Over it a volume makes do with `DESCRIPTORS_MIN`, evicting its own."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.open = 0


PROCESS = Budget(_allowed() // 2)


def raise_descriptor_limit() -> None:
    """The soft limit to the hard one: open files are a cache here, and the soft limit is for programs that use
    select(2). For the start of a process, before its volumes are opened."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    PROCESS.limit = _allowed() // 2


class Descriptors:
    """At most `limit` open descriptors, pinned ones beyond that included only while they are pinned."""

    def __init__(self, limit: int, writer_opened: Callable[[], None], budget: Budget = PROCESS) -> None:
        """`writer_opened` is called when a descriptor for writing comes in: see `drop_idle_writers`."""
        self._budget = budget
        self._writer_opened = writer_opened
        self._limit = max(limit, DESCRIPTORS_MIN)
        self._open: OrderedDict[LocalNode, None] = OrderedDict()
        self._parted: dict[int, tuple[int, Callable[[int], None]]] = {}  # fd no node has any more -> pins, how to close

    def __len__(self) -> int:
        return len(self._open) + len(self._parted)

    def put(self, node: LocalNode, fd: int, writable: bool) -> None:
        """The cache owns `fd` from here on; one the node had is closed."""
        if node.fd >= 0:
            self.drop(node)
        while self._is_full() and self._evict_one():
            pass
        self._budget.open += 1
        node.fd = fd
        node.writable = writable
        node.used = True
        self._open[node] = None
        if writable:
            self._writer_opened()

    def _is_full(self) -> bool:
        if len(self._open) < DESCRIPTORS_MIN:
            return False
        return len(self._open) >= self._limit or self._budget.open >= self._budget.limit

    def _evict_one(self) -> bool:
        for _ in range(2 * len(self._open)):
            node, _none = self._open.popitem(last=False)
            if node.pins or node.used:
                node.used = False
                self._open[node] = None
                continue
            os.close(node.fd)
            node.fd = -1
            self._budget.open -= 1
            return True
        return False

    def drop(self, node: LocalNode, close: Callable[[int], None] = os.close) -> None:
        """Close the node's descriptor; if it is pinned, when the last pin goes."""
        fd, node.fd = node.fd, -1
        if fd < 0:
            return
        del self._open[node]
        self._budget.open -= 1
        if node.pins:
            self._parted[fd] = (node.pins, close)
            node.pins = 0
        else:
            close(fd)

    def pin(self, node: LocalNode, fd: int) -> None:
        """Keep `fd` open, which is the node's or was, and is pinned still: undone by `unpin`."""
        if node.fd == fd:
            node.pins += 1
        else:
            pins, close = self._parted[fd]
            self._parted[fd] = (pins + 1, close)

    def unpin(self, node: LocalNode, fd: int) -> None:
        """Undo one `pin` of this descriptor, or one `node.pins += 1` that was made for it."""
        if node.fd == fd:
            node.pins -= 1
            return
        pins, close = self._parted.pop(fd)
        if pins > 1:
            self._parted[fd] = (pins - 1, close)
        else:
            close(fd)

    def drop_idle_writers(self) -> bool:
        """Close the writable descriptors nobody used since the last call; whether any are left.

        The kernel lets no program be executed that somebody has open for writing (ETXTBSY): a script that a client
        wrote could not be run on the host as long as this cache remembers it.
        """
        left = False
        for node in [node for node in self._open if node.writable]:
            if node.used or node.pins:
                node.used = False
                left = True
            else:
                self.drop(node)
        return left

    def shrink(self) -> bool:
        """Give one descriptor back to a process that has run out of them (EMFILE)."""
        return self._evict_one()

    def close(self) -> None:
        """Close all. Pinned ones follow when they are unpinned."""
        for node in list(self._open):
            self.drop(node)
