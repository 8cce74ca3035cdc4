"""`LocalFileSystem`: a directory of the host as a volume.

Put together from `LocalAttributes`, `LocalData` and `LocalNames`; here is what finds nodes and lists directories,
and the start and the end. No symlink is ever followed, every path is walked by directory descriptors, one component
at a time, and what the host does to the tree meanwhile is noticed (nodes.py). The daemon may be an ordinary user.

A directory that the host moves out of the volume stays reachable to who holds its handle until the next GETATTR on
it, which looks where it is; nothing else leads out.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from itertools import chain

from nfsd.vfs.buffers import Buffers
from nfsd.vfs.descriptors import Descriptors, default_limit
from nfsd.vfs.failures import failure
from nfsd.vfs.flush import Flusher
from nfsd.vfs.interface import Attributes, Caller, Entry, FileSystemStatistics, Later, Listing, Maybe, Misplaced, Node
from nfsd.vfs.kept import KeptTable
from nfsd.vfs.listing import COOKIE_PARENT, COOKIE_SELF, Listings, Snapshot
from nfsd.vfs.local_names import LocalNames
from nfsd.vfs.nodes import DIRECTORY_FLAGS, LocalNode, Tree
from nfsd.vfs.offload import Pool
from nfsd.vfs.search import Path, Searches
from nfsd.vfs.sidecar import Sidecar, read_owner, unlock
from nfsd.vfs.verifier import WriteVerifier

READ_INLINE_BYTES_MAX = 64 << 10
"""A directory whose own size is above this is read by the pool: some thousand entries, about 1 ms."""

SWEEP_SECONDS = 1.0
"""How long a file nobody writes any more stays open for writing, at least; at most twice that."""

_SEARCHES_MAX = 3
"""How often a file found may have moved again before its handle is called stale."""


def _scan(fd: int) -> Snapshot:
    """Read a directory; closes `fd`, which must be nobody else's: the position in it is shared by duplicates."""
    try:
        mtime_ns = os.fstat(fd).st_mtime_ns  # before reading: a change meanwhile then shows
        with os.scandir(fd) as entries:
            return Snapshot([(os.fsencode(entry.name), entry.inode()) for entry in entries], mtime_ns)
    finally:
        os.close(fd)


class LocalFileSystem(LocalNames):
    """See `FileSystem`. Belongs to the event loop it is first used on."""

    def __init__(
        self,
        root: str | bytes | os.PathLike[str],
        *,
        meta: str | bytes | os.PathLike[str] | None = None,
        durability: str = "stable",
        descriptors_max: int | None = None,
    ) -> None:
        """Open the directory `root` (a symlink here is followed: it is the operator's).

        `meta`: a directory outside of the volume for what extended attributes cannot keep; made when missing.
        `durability`: "stable": what is answered as durable survives a power cut; "host": it survives any crash of
        this process, and nothing is ever flushed. `descriptors_max`: by default a quarter of RLIMIT_NOFILE.
        OSError when `root` is no directory that can be read.
        """
        if durability not in ("stable", "host"):
            raise ValueError(f'durability {durability!r}: wanted "stable" or "host"')
        self.stable = durability == "stable"
        self.descriptors = Descriptors(descriptors_max or default_limit(), self._sweep_soon)
        self.tree = Tree(root, self.descriptors)
        self.tree.unlock = unlock
        self.pool = Pool()
        self.buffers = Buffers()
        self.listings = Listings()
        self.sidecar = Sidecar(KeptTable(meta))
        self.owner = read_owner(self.tree.root.fd)
        self.verifier = WriteVerifier(self.tree.root.fd)
        self.flusher = Flusher(self.pool, self.descriptors, self.verifier.change)
        self._searches = Searches(self.pool, self.tree.root.fd)
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False
        self.shown(self.tree.root, os.fstat(self.tree.root.fd))

    # ---- finding nodes ----

    @property
    def root(self) -> LocalNode:
        return self.tree.root

    def find(self, fileid: int, generation: int) -> Maybe[Node]:
        node = self.tree.known(fileid)
        if node is not None:
            if node.generation != generation:
                raise failure(errno.ESTALE)
            if node.parent is not None:
                return node
        return self._search(fileid, generation, _SEARCHES_MAX)

    def _search(self, fileid: int, born: int, attempts: int) -> Later[Node]:
        def found(path: Path) -> Node | Later[Node]:
            try:
                return self._walk_to(path, fileid, born)
            except OSError as error:
                moved = isinstance(error, Misplaced) or error.errno in (errno.ENOENT, errno.ENOTDIR)
                if not moved:
                    raise
                if attempts > 1:
                    return self._search(fileid, born, attempts - 1)
                raise failure(errno.ESTALE) from error

        return Later(self._searches.find(fileid)).then(found)

    def _walk_to(self, path: Path, fileid: int, born: int) -> LocalNode:
        """The node at a path just found. ENOENT when it is not there now, ESTALE for another life of its number."""
        node = self.tree.root
        for name in path:
            node, st = self.tree.find_child(node, name)
            self.shown(node, st)  # learns the true mode
        if node.fileid != fileid:
            raise failure(errno.ENOENT)
        if node.generation != born:
            raise failure(errno.ESTALE)
        return node

    def lookup(self, caller: Caller, directory: Node, name: bytes) -> tuple[Node, Attributes]:
        assert isinstance(directory, LocalNode)
        node, st = self.tree.find_child(directory, name)
        return node, self.shown(node, st)

    def parent(self, caller: Caller, directory: Node) -> tuple[Node, Attributes]:
        assert isinstance(directory, LocalNode)
        if directory.kind != stat.S_IFDIR:
            raise self.tree.unfit(directory, errno.ENOTDIR)
        if directory is not self.tree.root:
            self.tree.stat_by_name(directory)
            assert directory.parent is not None
            directory = directory.parent
        return directory, self.getattr(directory)

    def peek(self, directory: Node, name: bytes) -> tuple[Node, Attributes] | None:
        assert isinstance(directory, LocalNode)
        try:
            node, st = self.tree.find_child(directory, name)
        except (FileNotFoundError, PermissionError):  # removed meanwhile; a mount point
            return None
        return node, self.shown(node, st)

    def path(self, node: Node) -> bytes:
        assert isinstance(node, LocalNode)
        return self.tree.path(node)

    # ---- listing ----

    def readdir(self, caller: Caller, directory: Node) -> Maybe[Listing]:
        assert isinstance(directory, LocalNode)
        if directory.kind != stat.S_IFDIR:
            raise self.tree.unfit(directory, errno.ENOTDIR)
        st = self.tree.stat(directory)
        snapshot = self.listings.fresh(directory, st.st_mtime_ns)
        if snapshot is not None:
            return self._listing(directory, snapshot)
        fd = os.open(b".", DIRECTORY_FLAGS, dir_fd=self.tree.directory(directory))
        if st.st_size <= READ_INLINE_BYTES_MAX:
            return self._keep(directory, _scan(fd))
        try:
            return Later(self.pool.run(_scan, fd)).then(lambda snapshot: self._keep(directory, snapshot))
        except OSError:
            os.close(fd)
            raise

    def _keep(self, directory: LocalNode, snapshot: Snapshot) -> Listing:
        self.listings.keep(directory, snapshot)
        return self._listing(directory, snapshot)

    def _listing(self, directory: LocalNode, snapshot: Snapshot) -> Listing:
        parent = directory.parent or directory
        above = (Entry(COOKIE_SELF, b".", directory.fileid), Entry(COOKIE_PARENT, b"..", parent.fileid))
        version = (directory.version, snapshot.serial)
        return Listing(0, lambda cookie: chain(above[cookie:], snapshot.after(cookie)), version)

    # ---- the whole ----

    def statistics(self) -> FileSystemStatistics:
        vfs = os.fstatvfs(self.tree.root.fd)
        unit = vfs.f_frsize
        return FileSystemStatistics(
            vfs.f_blocks * unit, vfs.f_bfree * unit, vfs.f_bavail * unit, vfs.f_files, vfs.f_ffree, vfs.f_favail
        )

    def _sweep_soon(self) -> None:
        """A file is open for writing: see that it does not stay so (`Descriptors.drop_idle_writers`)."""
        if self._sweep is None and not self._closed:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep_now)

    def _sweep_now(self) -> None:
        self._sweep = None
        if self.descriptors.drop_idle_writers():
            self._sweep_soon()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        await self.pool.close()
        self.listings.clear()
        self.sidecar.close()
        self.tree.root.pins -= 1
        self.descriptors.close()
