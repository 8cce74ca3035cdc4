"""The six procedures of MOUNT version 3 (RFC 1813 appendix I): from a path to the first handle.

A path may go on below an export (`/tenant/volume/src`); each further name is looked up with the caller's rights and no
symlink is followed, so the handle is one the client could have got by LOOKUP. "." and ".." are refused.

The list of mounts is what clients said, no more (section 5.2.2: "advisory"): it is bounded, forgotten with the process,
and nothing depends on it.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Awaitable
from typing import Any, Protocol

from nfsd.exports import ExportTable
from nfsd.limits import MNTNAME_BYTES_MAX, MOUNT_LIST_ENTRIES_MAX
from nfsd.mount3.types import (
    Exportnode,
    Exports,
    Mountbody,
    MountList,
    MountProc,
    Mountres3,
    Mountres3Ok,
    Mountstat3,
    decode_dirpath,
)
from nfsd.rpc.auth import AUTH_NONE, AUTH_SYS, Credentials
from nfsd.rpc.program import Body, Handler
from nfsd.vfs.interface import Caller, Node

# Both are served. AUTH_SYS first: clients take the first they know.
_FLAVORS = (AUTH_SYS, AUTH_NONE)

_STATUS = {
    errno.ENOENT: Mountstat3.MNT3ERR_NOENT,
    errno.ESTALE: Mountstat3.MNT3ERR_NOENT,
    errno.ENOTDIR: Mountstat3.MNT3ERR_NOTDIR,
    errno.EACCES: Mountstat3.MNT3ERR_ACCES,
    errno.EPERM: Mountstat3.MNT3ERR_PERM,
    errno.EINVAL: Mountstat3.MNT3ERR_INVAL,
    errno.ENAMETOOLONG: Mountstat3.MNT3ERR_NAMETOOLONG,
}


class Host(Protocol):
    """What the transport says of a peer."""

    @property
    def host(self) -> str: ...


class MountProcedures:
    def __init__(self, exports: ExportTable, *, listed: bool = True) -> None:
        """`listed`: whether DUMP and EXPORT tell what there is; else both lists are empty, and a path that cannot be
        guessed is known only to whom it was told."""
        self._exports = exports
        self._listed = listed
        self._mounts: dict[Mountbody, None] = {}

    def handlers(self) -> dict[int, Handler]:
        """Procedure number to handler, for `rpc.program.Dispatcher.add(MOUNT_PROGRAM, MOUNT_V3, ...)`."""
        return {
            MountProc.NULL: self.null,
            MountProc.MNT: self.mnt,
            MountProc.DUMP: self.dump,
            MountProc.UMNT: self.umnt,
            MountProc.UMNTALL: self.umntall,
            MountProc.EXPORT: self.export,
        }

    def null(self, _peer: Any, _credentials: Credentials, _buf: bytearray, _offset: int, _end: int) -> bytes:
        return b""

    def mnt(
        self, peer: Host, credentials: Credentials, buf: bytearray, offset: int, end: int
    ) -> Body | Awaitable[Body]:
        """The handle of a directory in an export. A path that is not exported does not exist, whatever the host has."""
        path = decode_dirpath(buf, offset, end)
        try:
            export, names = self._exports.mounted_at(path)
        except KeyError:
            return bytes(Mountres3(Mountstat3.MNT3ERR_NOENT))
        try:
            node: Node = export.fs.root
            caller = Caller(credentials.uid, credentials.gid, credentials.gids)
            for name in names:
                if name in (b".", b".."):
                    return bytes(Mountres3(Mountstat3.MNT3ERR_ACCES))
                node, _ = export.fs.lookup(caller, node, name)
            if node.kind != stat.S_IFDIR:
                return bytes(Mountres3(Mountstat3.MNT3ERR_NOTDIR))
        except OSError as error:
            return bytes(Mountres3(_STATUS.get(error.errno or 0, Mountstat3.MNT3ERR_IO)))
        self._remember(_mountbody(peer, path))
        return bytes(Mountres3(Mountstat3.MNT3_OK, Mountres3Ok(self._exports.handle(export, node), _FLAVORS)))

    def dump(self, _peer: Any, _credentials: Credentials, _buf: bytearray, _offset: int, _end: int) -> bytes:
        return bytes(MountList(tuple(self._mounts) if self._listed else ()))

    def umnt(self, peer: Host, _credentials: Credentials, buf: bytearray, offset: int, end: int) -> bytes:
        self._mounts.pop(_mountbody(peer, decode_dirpath(buf, offset, end)), None)
        return b""

    def umntall(self, peer: Host, _credentials: Credentials, _buf: bytearray, _offset: int, _end: int) -> bytes:
        host = _mountbody(peer, b"").ml_hostname
        for mount in [mount for mount in self._mounts if mount.ml_hostname == host]:
            del self._mounts[mount]
        return b""

    def export(self, _peer: Any, _credentials: Credentials, _buf: bytearray, _offset: int, _end: int) -> bytes:
        """Every export, without groups: who may mount was decided when the connection was accepted."""
        shown = self._exports if self._listed else ()
        return bytes(Exports(tuple(Exportnode(export.path) for export in shown)))

    def _remember(self, mount: Mountbody) -> None:
        if mount not in self._mounts and len(self._mounts) >= MOUNT_LIST_ENTRIES_MAX:
            del self._mounts[next(iter(self._mounts))]
        self._mounts[mount] = None


def _mountbody(peer: Host, path: bytes) -> Mountbody:
    return Mountbody(peer.host.encode()[:MNTNAME_BYTES_MAX], path)
