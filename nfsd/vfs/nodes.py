"""The known files of a local volume: what a node is, where it was last seen, and the proof that it is still it.

A node is (parent node, name). Whoever uses it by name compares the inode number found with the one meant; where they
differ the host renamed something meanwhile: other known links are tried, then the node is lost until the tree has been
searched (`Misplaced`). The number alone is no proof, since numbers are used again: when the change time moved and no
descriptor holds the inode, the generation is asked too.

The table is weak: a node lives as long as a front end, a child or an open descriptor refers to it. About 450 bytes for
each known file, the name included.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from weakref import WeakValueDictionary

from nfsd.vfs import generation
from nfsd.vfs.descriptors import Descriptors
from nfsd.vfs.failures import failure
from nfsd.vfs.interface import Misplaced, Node
from nfsd.vfs.kept import Kept
from nfsd.vfs.names import check

LINKS_MAX = 8
"""Further names remembered for a file with several; a forgotten one costs a search of the tree, nothing else."""

_RACES_MAX = 16
"""How often a name may turn into another file between two system calls before it is called an error."""

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A name may have become a FIFO or a terminal since it was looked at: neither may block or be acquired.
FILE_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_ELSEWHERE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO))
"""What open answers when the name leads to something else than it did; ENXIO for a socket."""


UNREAD, OUR_OWN = -1, -2
"""Of `LocalNode.kept_ctime`: nothing was read yet; the last change was ours, so what is remembered is true."""


class LocalNode(Node):
    """`parent` is None when the node is lost (search for it) or gone (`gone`: ESTALE for ever)."""

    __slots__ = (
        "ctime", "fd", "gone", "kept", "kept_ctime", "links", "name", "parent", "pins", "used", "version", "writable"
    )  # fmt: skip

    def __init__(self, st: os.stat_result, born: int) -> None:
        super().__init__(st.st_ino, born, stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode))
        self.parent: LocalNode | None = None
        self.name = b""
        self.links: set[tuple[LocalNode, bytes]] | None = None  # further known names
        self.ctime = st.st_ctime_ns
        self.kept: Kept | None = None  # mode and owner when the host's are not the true ones (sidecar.py)
        self.kept_ctime = UNREAD  # the change time at which `kept` was read
        self.gone = False
        self.fd = -1
        self.writable = False
        self.used = False
        self.pins = 0
        self.version = 0  # of a directory: see `Listing.version`

    def touch(self) -> None:
        """Its attributes are about to change, in this turn of the loop."""
        parent = self.parent
        if parent is not None:
            parent.version += 1


class Tree:
    """The node table and the ways from a node to a descriptor."""

    def __init__(self, root: str | bytes | os.PathLike[str], descriptors: Descriptors) -> None:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        st = os.fstat(fd)
        self.device = st.st_dev
        self.root = LocalNode(st, generation.of_descriptor(fd))
        self.root.parent = self.root
        self.descriptors = descriptors
        self.unlock: Callable[[int, bytes, int], bool] = lambda _fd, _name, _kind: False
        """Called with (directory fd, name, kind) on EACCES: give the owner his rights; False when he cannot."""
        descriptors.put(self.root, fd, False)
        self.root.pins = 1
        self._table: WeakValueDictionary[int, LocalNode] = WeakValueDictionary({st.st_ino: self.root})
        self.known = self._table.get

    # ---- from names to nodes ----

    def learn(self, directory: LocalNode, name: bytes, st: os.stat_result) -> LocalNode | None:
        """The node of an entry just looked at; None when the entry changed meanwhile (look again)."""
        node = self.known(st.st_ino)
        if node is None or (st.st_ctime_ns != node.ctime and node.fd < 0):
            node = self._recognise(directory, name, st, node)
            if node is None:
                return None
        if node.parent is not directory or node.name != name:
            self.place(node, directory, name, st.st_nlink)
        return node

    def _recognise(
        self, directory: LocalNode, name: bytes, st: os.stat_result, node: LocalNode | None
    ) -> LocalNode | None:
        if st.st_dev != self.device:
            raise failure(errno.EACCES, name)  # another file system is mounted there: not part of the volume
        found, born = generation.of_name(self.directory(directory), name)
        if found != st.st_ino:
            return None
        return self.adopt(st, born, node)

    def adopt(self, st: os.stat_result, born: int, node: LocalNode | None) -> LocalNode:
        """The node of this inode number and generation: the known one if it is the same life, else a new one."""
        if node is not None:
            if node.generation == born:
                node.ctime = st.st_ctime_ns
                return node
            self.bury(node)
        node = LocalNode(st, born)
        self._table[st.st_ino] = node
        return node

    def find_child(self, directory: LocalNode, name: bytes) -> tuple[LocalNode, os.stat_result]:
        """Look a name up on disk. ENOENT, ENOTDIR; EACCES for a mount point."""
        check(name)
        if directory.kind != stat.S_IFDIR:
            raise self.unfit(directory, errno.ENOTDIR)
        for _ in range(_RACES_MAX):
            fd = directory.fd
            if fd < 0:
                fd = self.directory(directory)
            directory.used = True
            st = os.lstat(name, dir_fd=fd)
            try:
                node = self.learn(directory, name, st)
            except FileNotFoundError:
                continue
            if node is not None:
                return node, st
        raise failure(errno.EIO, name)

    # ---- where nodes are ----

    def place(self, node: LocalNode, directory: LocalNode, name: bytes, links: int) -> None:
        """The node was seen under this name. With one link only, it is no longer where it was."""
        if links > 1 and node.kind != stat.S_IFDIR and node.parent is not None:
            self.add_link(node, node.parent, node.name)
        elif links <= 1:
            node.links = None
        node.parent, node.name = directory, name
        if node.links is not None:
            node.links.discard((directory, name))

    def add_link(self, node: LocalNode, directory: LocalNode, name: bytes) -> None:
        """Remember a further name."""
        if node.links is None:
            node.links = set()
        if len(node.links) < LINKS_MAX:
            node.links.add((directory, name))

    def unplace(self, node: LocalNode, directory: LocalNode, name: bytes) -> None:
        """That name was taken away; another known one moves up, or the node is lost."""
        if node.links is not None:
            node.links.discard((directory, name))
        if node.parent is directory and node.name == name:
            if node.links:
                node.parent, node.name = node.links.pop()
            else:
                self.lose(node)

    def lose(self, node: LocalNode) -> None:
        """No known name leads to the node. A directory's descriptor goes: it may have left the volume."""
        node.parent, node.name, node.links = None, b"", None
        if node.kind == stat.S_IFDIR and node is not self.root:
            self.descriptors.drop(node)

    def bury(self, node: LocalNode, close: Callable[[int], None] = os.close) -> None:
        """The file is gone: ESTALE for this node from now on, and its number is free for another."""
        node.gone = True
        self.lose(node)
        self.descriptors.drop(node, close)
        if self.known(node.fileid) is node:
            del self._table[node.fileid]

    def missing(self, node: LocalNode) -> OSError:
        """What to raise for a node without a place."""
        return failure(errno.ESTALE) if node.gone else Misplaced(node.fileid, node.generation)

    def unfit(self, node: LocalNode, code: int) -> OSError:
        """What to raise for a node of the wrong kind: one that is gone is stale, whatever it was."""
        return failure(errno.ESTALE if node.gone else code)

    def path(self, node: LocalNode) -> bytes:
        """From the root, without asking the disk. ESTALE when a part of the way is not known."""
        if node.parent is self.root:  # the audit layer asks for each change
            return node.name
        parts = [step.name for step in self._upwards(node)]
        parts.reverse()
        return b"/".join(parts)

    def _upwards(self, node: LocalNode) -> Iterator[LocalNode]:
        """The node and its parents below the root. Renames by the host can make a ring of what is remembered."""
        seen: set[LocalNode] = set()
        while node is not self.root:
            if node.parent is None:
                raise self.missing(node)
            if node in seen:
                self.lose(node)
                raise self.missing(node)
            seen.add(node)
            yield node
            node = node.parent

    # ---- from nodes to the disk ----

    def stat(self, node: LocalNode) -> os.stat_result:
        """The host's attributes. Regular files by descriptor where one is open, which is proof enough; directories
        by name, so that one that was moved away is noticed."""
        fd = node.fd
        if fd >= 0 and (node.kind == stat.S_IFREG or node is self.root):
            node.used = True
            st = os.fstat(fd)
            if st.st_nlink:
                return st
            if (
                node is not self.root
            ):  # a volume deleted under the server keeps its root's descriptor until it is closed
                self.bury(node)
            raise failure(errno.ESTALE)
        return self.stat_by_name(node)

    def stat_by_name(self, node: LocalNode) -> os.stat_result:
        """As `stat`, and afterwards `node.parent` and `node.name` lead to the node. Misplaced, ESTALE."""
        directory = node.parent
        while directory is not None:
            fd = directory.fd
            if fd < 0:
                fd = self.directory(directory)
            directory.used = True
            try:
                st = os.lstat(node.name, dir_fd=fd)
                if st.st_ino == node.fileid:
                    if st.st_ctime_ns != node.ctime and self._verify(directory, node, st):
                        node.ctime = st.st_ctime_ns
                    if not node.gone:
                        return st
            except (FileNotFoundError, NotADirectoryError):
                pass
            self.unplace(node, directory, node.name)
            directory = node.parent
        raise self.missing(node)

    def _verify(self, directory: LocalNode, node: LocalNode, st: os.stat_result) -> bool:
        if node.fd >= 0:
            return True  # the open descriptor keeps the number from being used again
        found, born = generation.of_name(self.directory(directory), node.name)
        if found == node.fileid and born == node.generation and st.st_dev == self.device:
            return True
        if found == node.fileid:
            self.bury(node)
        return False

    def directory(self, node: LocalNode) -> int:
        """A directory's descriptor, opened from its nearest open parent. Misplaced, ESTALE, ENOTDIR, EACCES."""
        if node.fd >= 0:
            node.used = True
            return node.fd
        if node.kind != stat.S_IFDIR:
            raise self.unfit(node, errno.ENOTDIR)
        way = []
        for step in self._upwards(node):
            if step.fd >= 0:
                break
            way.append(step)
        while way:
            step = way.pop()
            assert step.parent is not None
            fd = self._open_checked(step, step.parent.fd, DIRECTORY_FLAGS)
            self.descriptors.put(step, fd, False)
        return node.fd

    def file(self, node: LocalNode, writing: bool) -> int:
        """A regular file's descriptor. EISDIR, EINVAL (no regular file), Misplaced, ESTALE, EACCES, ETXTBSY."""
        fd = node.fd
        if fd >= 0 and (node.writable or not writing) and node.kind == stat.S_IFREG:
            node.used = True
            return fd
        if node.kind != stat.S_IFREG:
            raise self.unfit(node, errno.EISDIR if node.kind == stat.S_IFDIR else errno.EINVAL)
        self.stat_by_name(node)
        assert node.parent is not None
        flags = FILE_FLAGS | (os.O_RDWR if writing else os.O_RDONLY)
        fd = self._open_checked(node, self.directory(node.parent), flags)
        self.descriptors.put(node, fd, writing)
        return fd

    def _open_checked(self, node: LocalNode, directory_fd: int, flags: int) -> int:
        """Open (directory, name) and prove that it is the node."""
        try:
            fd = self._open(node, directory_fd, flags)
        except OSError as error:
            if error.errno not in _ELSEWHERE:
                raise
            self.lose(node)
            raise self.missing(node) from error
        st = os.fstat(fd)
        same = st.st_ino == node.fileid and st.st_dev == self.device and stat.S_IFMT(st.st_mode) == node.kind
        if same and (st.st_ctime_ns == node.ctime or generation.of_descriptor(fd) == node.generation):
            node.ctime = st.st_ctime_ns
            if node.kind == stat.S_IFDIR and st.st_mode & stat.S_IRWXU != stat.S_IRWXU:
                self.unlock(directory_fd, node.name, node.kind)
            return fd
        os.close(fd)
        self.lose(node)
        raise self.missing(node)

    def _open(self, node: LocalNode, directory_fd: int, flags: int) -> int:
        try:
            return os.open(node.name, flags, dir_fd=directory_fd)
        except PermissionError:
            if not self.unlock(directory_fd, node.name, node.kind):
                raise
        except OSError as error:
            if error.errno != errno.EMFILE or not self.descriptors.shrink():
                raise
        return os.open(node.name, flags, dir_fd=directory_fd)
