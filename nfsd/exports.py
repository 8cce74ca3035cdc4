"""The table of live exports, and which node a handle means right now.

An export exists from `attach` to `detach`: both are one step of the event loop. After `detach` every handle of the
export is NFS3ERR_STALE and its path NFS3ERR_NOENT, at once; calls that were waiting for blocking work answer with what
they did. The export key names the *attachment*, not the volume: a second attachment of the same volume, read-only say,
has handles of its own, so a handle never carries one attachment's rights into another.

The rule: `Export.known` is a cache. What falls out of it is found again through `FileSystem.find`, so its bound costs
time only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from nfsd.errors import Nfs3Error
from nfsd.handles import EXPORT_KEY_BYTES, HandleCodec
from nfsd.limits import KNOWN_HANDLES_MAX, KNOWN_HANDLES_PER_EXPORT_MIN, MNTPATH_BYTES_MAX
from nfsd.nfs3.const import Nfsstat3
from nfsd.vfs.interface import Attributes, FileSystem, Later, Maybe, Node


class Searching(Exception):
    """A handle's node has to be searched for: not an error but a detour.

    Raised by `ExportTable.resolve` before a procedure has done anything. Whoever dispatches awaits `node`, which also
    makes it known, and runs the procedure again from its arguments.
    """

    def __init__(self, node: Later[Node]) -> None:
        super().__init__()
        self.node = node


class KnownHandles:
    """Handles and their nodes, both ways, at most `maximum` of them.

    Two generations in place of an order of use: a hit costs one dict look-up and no bookkeeping. When the young
    generation has half of the maximum, the old one is forgotten; what was used since then has moved to the young one.
    """

    __slots__ = ("_handles", "_old_handles", "_old_nodes", "maximum", "nodes")

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        # The young generation by handle: `ExportTable.resolve` looks here without the cost of a call.
        self.nodes: dict[bytes, Node] = {}
        self._handles: dict[Node, bytes] = {}
        self._old_nodes: dict[bytes, Node] = {}
        self._old_handles: dict[Node, bytes] = {}

    def __len__(self) -> int:
        return len(self.nodes) + len(self._old_nodes)

    def node(self, handle: bytes) -> Node | None:
        node = self.nodes.get(handle)
        if node is None:
            node = self._old_nodes.get(handle)
            if node is not None:
                self.add(handle, node)
        return node

    def handle(self, node: Node) -> bytes | None:
        handle = self._handles.get(node)
        if handle is None:
            handle = self._old_handles.get(node)
            if handle is not None:
                self.add(handle, node)
        return handle

    def add(self, handle: bytes, node: Node) -> None:
        if len(self.nodes) * 2 >= self.maximum:
            self._old_nodes, self._old_handles = self.nodes, self._handles
            self.nodes, self._handles = {}, {}
        self.nodes[handle] = node
        self._handles[node] = handle


@dataclass(slots=True, eq=False)
class Export:
    """One attachment of a volume.

    `path` is what a client mounts (`/tenant/volume`); `key` is 8 bytes, random for each attachment and remembered by
    whoever attaches, so that handles survive a restart; `fs` is the whole stack; `fsid` is the volume's own, fixed for
    as long as the volume lives. `read_only` is for the answers of MOUNT only: the stack refuses writes, not this.
    """

    path: bytes
    key: bytes
    fs: FileSystem
    fsid: int
    read_only: bool = False
    shown_uid: int | None = field(init=False)
    shown_gid: int | None = field(init=False)
    known: KnownHandles = field(init=False)
    before: Callable[[Node], Attributes] = field(init=False)
    after: Callable[[Node], Attributes] = field(init=False)

    def __post_init__(self) -> None:
        if not self.path.startswith(b"/") or self.path != export_path(self.path):
            raise ValueError(f"export path {self.path!r}: wanted an absolute path like b'/tenant/volume'")
        if len(self.path) > MNTPATH_BYTES_MAX:
            raise ValueError(f"export path of {len(self.path)} bytes; MOUNT allows {MNTPATH_BYTES_MAX}")
        if len(self.key) != EXPORT_KEY_BYTES:
            raise ValueError(f"export key of {len(self.key)} bytes; wanted {EXPORT_KEY_BYTES}")
        if not 0 <= self.fsid < 1 << 64:
            raise ValueError(f"fsid {self.fsid} does not fit 64 bits")
        self.shown_uid, self.shown_gid = self.fs.shown_uid, self.fs.shown_gid
        self.known = KnownHandles(KNOWN_HANDLES_MAX)
        self.before, self.after = self.fs.before, self.fs.after


def export_path(path: bytes) -> bytes:
    """The one spelling of a path: no trailing slash, no doubled one (clients send `:/t/v` and `:/t/v/` alike)."""
    return b"/" + b"/".join(part for part in path.split(b"/") if part)


def paths_above(path: bytes) -> Iterator[tuple[bytes, list[bytes]]]:
    """(an export's path, the names below it) for each way to cut a MNT path in two, the longest export's path first."""
    names = [part for part in path.split(b"/") if part]
    for length in range(len(names), -1, -1):
        yield b"/" + b"/".join(names[:length]), names[length:]


class ExportTable:
    """The exports that clients can mount now. Used on the event loop's thread only."""

    def __init__(self, secret: bytes) -> None:
        """`secret` signs the handles (see `HandleCodec`): the same after a restart, or old handles are stale."""
        self._codec = HandleCodec(secret)
        self._by_key: dict[bytes, Export] = {}
        self._by_path: dict[bytes, Export] = {}
        self._elsewhere: Collection[bytes] = ()

    def served_elsewhere(self, keys: Collection[bytes]) -> None:
        """Export keys that other processes of this server own: a handle of theirs is no stale one, it is another
        device's (`XDEV` for the second handle of RENAME and LINK)."""
        self._elsewhere = keys

    def __iter__(self) -> Iterator[Export]:
        return iter(self._by_path.values())

    def __len__(self) -> int:
        return len(self._by_path)

    def attach(self, export: Export) -> None:
        """Clients can mount it when this returns. ValueError when its path or its key is attached already."""
        if export.path in self._by_path:
            raise ValueError(f"{export.path!r} is attached already; detach it first")
        if export.key in self._by_key:
            raise ValueError(f"the export key of {export.path!r} is in use by {self._by_key[export.key].path!r}")
        self._by_path[export.path] = export
        self._by_key[export.key] = export
        self._share_known_handles()

    def detach(self, path: bytes) -> Export:
        """No call that arrives from now on reaches the file system. KeyError when nothing is attached there.

        The caller closes `export.fs`, which waits for what is under way.
        """
        export = self._by_path.pop(path)
        del self._by_key[export.key]
        self._share_known_handles()
        return export

    def _share_known_handles(self) -> None:
        if self._by_path:
            share = max(KNOWN_HANDLES_PER_EXPORT_MIN, KNOWN_HANDLES_MAX // len(self._by_path))
            for export in self._by_path.values():
                export.known.maximum = share

    def mounted_at(self, path: bytes) -> tuple[Export, list[bytes]]:
        """The export a MNT path leads to and the names below it; the longest attached path wins. KeyError: none."""
        for above, below in paths_above(path):
            export = self._by_path.get(above)
            if export is not None:
                return export, below
        raise KeyError(path)

    def resolve(self, handle: bytes) -> tuple[Export, Node]:
        """What a client's handle means.

        Nfs3Error when it is not ours or its export is gone, OSError (ESTALE) when its file is; Searching when the
        answer takes a while. A handle in the table was verified when it got there, so a hit checks no MAC.
        """
        export = self._by_key.get(handle[:8])
        if export is not None:
            known = export.known
            node = known.nodes.get(handle) or known.node(handle)
            if node is not None:
                return export, node
        return self._find(handle)

    def known(self, handle: bytes) -> tuple[Export, Node] | None:
        """What `resolve` would return if it is in the table: never searches, never raises."""
        export = self._by_key.get(handle[:8])
        node = None if export is None else export.known.node(handle)
        return None if export is None or node is None else (export, node)

    def search(self, handle: bytes, fileid: int, generation: int) -> Maybe[Node]:
        """Look for a node that has moved, in the export of a handle (see `vfs.interface.Misplaced`)."""
        export = self._by_key.get(handle[:8])
        if export is None:
            raise Nfs3Error(Nfsstat3.NFS3ERR_STALE, "its export is not attached")
        return export.fs.find(fileid, generation)

    def _find(self, handle: bytes) -> tuple[Export, Node]:
        key, fileid, generation = self._codec.decode(handle)
        export = self._by_key.get(key)
        if export is None and key in self._elsewhere:
            raise Nfs3Error(Nfsstat3.NFS3ERR_XDEV, "its export is served by another process")
        if export is None:
            raise Nfs3Error(Nfsstat3.NFS3ERR_STALE, "its export is not attached")
        found = export.fs.find(fileid, generation)
        if isinstance(found, Later):
            raise Searching(found.then(lambda node: self._learn(export, handle, node)))
        return export, self._learn(export, handle, found)

    def _learn(self, export: Export, handle: bytes, node: Node) -> Node:
        export.known.add(handle, node)
        return node

    def handle(self, export: Export, node: Node) -> bytes:
        """The node's handle in this export, for a reply."""
        handle = export.known.handle(node)
        if handle is None:
            handle = self._codec.encode(export.key, node.fileid, node.generation)
            export.known.add(handle, node)
        return handle
