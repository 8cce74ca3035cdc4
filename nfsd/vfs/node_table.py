"""Nodes by inode number, as long as somebody else refers to them: a `WeakValueDictionary` without its cost.

That one makes, and asks, through several Python calls what here are one or two: a file that is made and removed again
went through it six times.
"""

from __future__ import annotations

from typing import Generic, TypeVar
from weakref import ref

from nfsd.vfs.interface import Node

N = TypeVar("N", bound=Node)


class _Ref(ref[N]):
    """Knows where it is, for when its node is gone."""

    __slots__ = ("fileid",)
    fileid: int


class NodeTable(Generic[N]):
    """At most one node for each inode number; a node that nobody refers to any more is not in it."""

    def __init__(self) -> None:
        self._refs: dict[int, _Ref[N]] = {}

    def __len__(self) -> int:
        return len(self._refs)

    def get(self, fileid: int) -> N | None:
        """The node of this inode number."""
        found = self._refs.get(fileid)
        return None if found is None else found()

    def add(self, node: N) -> None:
        """From now on this is the node of its inode number."""
        entry = _Ref(node, self._died)
        entry.fileid = node.fileid
        self._refs[node.fileid] = entry

    def remove(self, node: N) -> None:
        """If it is the one in the table."""
        found = self._refs.get(node.fileid)
        if found is not None and found() is node:
            del self._refs[node.fileid]

    def _died(self, entry: ref[N]) -> None:
        assert isinstance(entry, _Ref)
        if self._refs.get(entry.fileid) is entry:  # not if another node has the number by now
            del self._refs[entry.fileid]
