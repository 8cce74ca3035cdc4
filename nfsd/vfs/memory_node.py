"""A file of the memory backend, with everything that belongs to it in one object."""

from __future__ import annotations

import stat
import time

from nfsd.vfs.attributes import FileAttributes
from nfsd.vfs.interface import Attributes, Node


class MemoryNode(Node):
    """A file with everything that belongs to it. `places`: (directory, name) of each link."""

    __slots__ = ("atime", "children", "ctime", "data", "gid", "mode", "mtime", "places", "target", "uid", "verifier")

    def __init__(self, fileid: int, kind: int, mode: int, uid: int, gid: int) -> None:
        super().__init__(fileid, 1, kind, mode >> 6 & 7)
        self.mode = mode
        self.uid = uid
        self.gid = gid
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
        mode = self.kind | self.mode
        blocks = (size + 511) // 512
        return FileAttributes(
            mode, self.fileid, links, self.uid, self.gid, size, blocks, self.atime, self.mtime, self.ctime
        )
