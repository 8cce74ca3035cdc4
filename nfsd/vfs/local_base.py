"""What the parts of the local backend share: the tree of nodes, the pool, the flusher, the promise of durability.

`LocalFileSystem` is put together from `LocalAttributes`, `LocalData` and `LocalNames`, one file each; they know each
other only through this base.
"""

from __future__ import annotations

import os
import stat
from abc import abstractmethod
from collections.abc import Callable
from typing import TypeVar

from nfsd.vfs.descriptors import Descriptors
from nfsd.vfs.flush import Flusher
from nfsd.vfs.interface import Attributes, Changes, FileSystem, Later, Maybe
from nfsd.vfs.nodes import LocalNode, Tree
from nfsd.vfs.offload import Pool
from nfsd.vfs.sidecar import Sidecar
from nfsd.vfs.verifier import WriteVerifier

T = TypeVar("T")

OFFSET_MAX = (1 << 63) - 1
"""Offsets and sizes are signed in the kernel and unsigned in NFS."""


class LocalBase(FileSystem):
    """State and helpers; no operation of the interface."""

    tree: Tree
    descriptors: Descriptors
    pool: Pool
    flusher: Flusher
    sidecar: Sidecar
    verifier: WriteVerifier
    owner: tuple[int, int] | None
    """(uid, gid) of files without ids of their own (`settle_owner`); None: the host's ids are shown."""
    stable: bool
    """Whether what is answered as durable has to be flushed (a volume's durability "stable")."""

    @abstractmethod
    def shown(self, node: LocalNode, st: os.stat_result) -> Attributes:
        """The attributes to show for the host's."""

    def pooled(self, node: LocalNode, call: Callable[..., T], *arguments: object) -> Later[T]:
        """Run a call on the node's open descriptor in the pool; the descriptor is pinned as long as it runs."""
        fd = node.fd
        work = self.pool.run(call, *arguments)
        node.pins += 1
        work.add_done_callback(lambda _done: self.descriptors.unpin(node, fd))
        return Later(work)

    @abstractmethod
    def apply(self, node: LocalNode, st: os.stat_result, changes: Changes) -> None:
        """Owner, mode and times, of a file that is only ours or whose changes were checked."""

    def named(self, directory: LocalNode, result: T, further: LocalNode | None = None) -> Maybe[T]:
        """The result of an operation on names, when the names are as durable as was promised."""
        if not self.stable:
            return result
        flushed = self.flusher.flush(directory, self.tree.directory(directory), metadata=True)
        if further is not None and further is not directory:
            other = self.flusher.flush(further, self.tree.directory(further), metadata=True)
            flushed = flushed.then(lambda _none: other)
        return flushed.then(lambda _none: result)

    def flush_node(self, node: LocalNode) -> Later[None]:
        """Make the node's data and attributes durable. What must not be opened (symlinks, FIFOs) is durable with its
        directory: journaling file systems commit the inode in the same transaction or an earlier one."""
        if node.fd < 0 and node.kind in (stat.S_IFREG, stat.S_IFDIR):
            if node.kind == stat.S_IFREG:
                self.tree.file(node, writing=False)
            else:
                self.tree.directory(node)
        if node.fd >= 0:
            return self.flusher.flush(node, node.fd, metadata=True)
        if node.parent is None:
            raise self.tree.missing(node)
        return self.flusher.flush(node.parent, self.tree.directory(node.parent), metadata=True)
