"""A file tree in memory that answers each operation as a local disk does: the model that a real tree is held to.

Paths are tuples of names below the root. An operation returns nothing, or raises the `OSError` that Linux gives; where
several are true, the one that its path walk meets first (do_renameat2, do_linkat, vfs_rename).
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from integration.workloads.manifest import Entry

Path = tuple[str, ...]


@dataclass(eq=False)
class Node:
    """What a name means. `children` of a directory, `content` of a file, `target` of a symlink."""

    kind: str
    mode: int
    content: bytes = b""
    target: str = ""
    children: dict[str, Node] = field(default_factory=dict)


def refuse(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Tree:
    """Everything is its owner's, who may do what the modes say."""

    def __init__(self) -> None:
        self.root = Node("directory", 0o755)

    def directory(self, path: Path) -> Node:
        """The directory that a path's last name is, or is to be, in."""
        node = self.root
        for name in path[:-1]:
            if node.kind != "directory":
                raise refuse(errno.ENOTDIR)
            if name not in node.children:
                raise refuse(errno.ENOENT)
            node = node.children[name]
        if node.kind != "directory":
            raise refuse(errno.ENOTDIR)
        return node

    def find(self, path: Path) -> Node:
        directory = self.directory(path)
        if path[-1] not in directory.children:
            raise refuse(errno.ENOENT)
        return directory.children[path[-1]]

    def _add(self, path: Path, node: Node) -> None:
        directory = self.directory(path)
        if path[-1] in directory.children:
            raise refuse(errno.EEXIST)
        directory.children[path[-1]] = node

    def create(self, path: Path, content: bytes) -> None:
        self._add(path, Node("file", 0o644, content))

    def mkdir(self, path: Path) -> None:
        self._add(path, Node("directory", 0o755))

    def symlink(self, target: str, path: Path) -> None:
        self._add(path, Node("symlink", 0o777, target=target))

    def link(self, old: Path, new: Path) -> None:
        node = self.find(old)
        if new[-1] in self.directory(new).children:
            raise refuse(errno.EEXIST)
        if node.kind == "directory":
            raise refuse(errno.EPERM)
        self._add(new, node)

    def append(self, path: Path, content: bytes) -> None:
        node = self.find(path)
        if node.kind == "directory":
            raise refuse(errno.EISDIR)
        if not node.mode & 0o200:
            raise refuse(errno.EACCES)
        node.content += content
        node.mode &= ~(0o6000 if node.mode & 0o010 else 0o4000)  # writing takes setuid, and setgid of a program, away

    def chmod(self, path: Path, mode: int) -> None:
        self.find(path).mode = mode

    def unlink(self, path: Path) -> None:
        if self.find(path).kind == "directory":
            raise refuse(errno.EISDIR)
        del self.directory(path).children[path[-1]]

    def rmdir(self, path: Path) -> None:
        node = self.find(path)
        if node.kind != "directory":
            raise refuse(errno.ENOTDIR)
        if node.children:
            raise refuse(errno.ENOTEMPTY)
        del self.directory(path).children[path[-1]]

    def rename(self, old: Path, new: Path) -> None:
        left, arrived = self.directory(old), self.directory(new)
        if old[-1] not in left.children:
            raise refuse(errno.ENOENT)
        node, replaced = left.children[old[-1]], arrived.children.get(new[-1])
        if new[: len(old)] == old and len(new) > len(old):
            raise refuse(errno.EINVAL)
        if old[: len(new)] == new and len(old) > len(new):
            raise refuse(errno.ENOTEMPTY)
        if node is replaced:
            return
        if replaced is not None:
            self._replaceable(node, replaced)
        del left.children[old[-1]]
        arrived.children[new[-1]] = node

    @staticmethod
    def _replaceable(node: Node, replaced: Node) -> None:
        if node.kind == "directory" and replaced.kind != "directory":
            raise refuse(errno.ENOTDIR)
        if node.kind != "directory" and replaced.kind == "directory":
            raise refuse(errno.EISDIR)
        if replaced.children:
            raise refuse(errno.ENOTEMPTY)

    def walk(self) -> Iterator[tuple[Path, Node]]:
        """Every name but the root, parents first."""
        waiting: list[tuple[Path, Node]] = [((), self.root)]
        while waiting:
            path, node = waiting.pop()
            if path:
                yield path, node
            waiting += [((*path, name), child) for name, child in node.children.items()]

    def manifest(self) -> list[Entry]:
        """As `manifest.manifest` would find it on a disk."""
        found = sorted(("/".join(path), node) for path, node in self.walk())
        names: dict[int, list[str]] = {}
        for path, node in found:
            names.setdefault(id(node), []).append(path)
        return [
            Entry(path, node.kind, node.mode, _size(node), _content(node), _first(names[id(node)]), 0)
            for path, node in found
        ]


def _size(node: Node) -> int:
    return {"file": len(node.content), "symlink": len(node.target)}.get(node.kind, 0)


def _content(node: Node) -> str:
    return {"file": hashlib.sha256(node.content).hexdigest(), "symlink": node.target}.get(node.kind, "")


def _first(names: list[str]) -> str:
    return names[0] if len(names) > 1 else ""
