"""A file of the memory backend, with everything that belongs to it in one object."""

from __future__ import annotations

import stat
import time

from nfsd.vfs.attributes import FileAttributes
from nfsd.vfs.interface import Attributes, Node


class Owner:
    """The volume's owner, whom the files without ids of their own belong to."""

    def __init__(self, uid: int, gid: int) -> None:
        self.ids = (uid, gid)
        self.settled = False


class MemoryNode(Node):
    """A file with everything that belongs to it. `places`: (directory, name) of each link."""

    __slots__ = ("atime", "children", "ctime", "data", "mtime", "owner", "places", "target", "verifier")

    def __init__(self, fileid: int, kind: int, mode: int, owner: Owner) -> None:
        super().__init__(fileid, 1, kind, mode)
        self.owner = owner
        self.atime = self.mtime = self.ctime = time.time_ns()
        self.data = bytearray()
        self.target = b""
        self.children: dict[bytes, MemoryNode] = {}
        self.places: list[tuple[MemoryNode, bytes]] = []
        self.verifier: bytes | None = None

    def attributes(self) -> Attributes:
        """As of now."""
        if self.kind == stat.S_IFDIR:
            links = 2 + sum(child.kind == stat.S_IFDIR for child in self.children.values())
        else:
            links = len(self.places)
        size = len(self.target) if self.kind == stat.S_IFLNK else len(self.data)
        uid, gid = self.ids or self.owner.ids
        blocks = (size + 511) // 512
        return FileAttributes(self.mode, self.fileid, links, uid, gid, size, blocks, self.atime, self.mtime, self.ctime)
