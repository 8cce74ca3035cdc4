"""GETATTR, SETATTR, ACCESS (RFC 1813 sections 3.3.1, 3.3.2, 3.3.4)."""

from __future__ import annotations

import stat

from nfsd.errors import Nfs3Error
from nfsd.exports import ExportTable
from nfsd.nfs3.args import Sattr, decode_access, decode_getattr, decode_setattr
from nfsd.nfs3.const import (
    ACCESS3_DELETE,
    ACCESS3_EXECUTE,
    ACCESS3_EXTEND,
    ACCESS3_LOOKUP,
    ACCESS3_MODIFY,
    ACCESS3_READ,
    Nfsstat3,
)
from nfsd.nfs3.results import encode_access, encode_getattr, encode_setattr
from nfsd.procedures.shown import post_op_attr, shown_owner, wcc_data, with_wcc
from nfsd.vfs.interface import (
    MAY_EXECUTE,
    MAY_READ,
    MAY_WRITE,
    NO_CHANGES,
    Attributes,
    Caller,
    Changes,
    Later,
    Maybe,
)
from nfsd.xdr import Buffer


def _access_bits(may: int, directory: bool) -> int:
    """What ACCESS answers for MAY_* bits. In a directory MODIFY, EXTEND and DELETE stand for the right to write alone,
    though it takes search permission too: the Linux client makes access(W_OK) of them, and asks LOOKUP by itself."""
    bits = ACCESS3_READ if may & MAY_READ else 0
    if not directory:
        bits |= ACCESS3_MODIFY | ACCESS3_EXTEND if may & MAY_WRITE else 0
        return bits | (ACCESS3_EXECUTE if may & MAY_EXECUTE else 0)
    bits |= ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_DELETE if may & MAY_WRITE else 0
    return bits | (ACCESS3_LOOKUP if may & MAY_EXECUTE else 0)


_ACCESS_FILE = tuple(_access_bits(may, False) for may in range(8))
_ACCESS_DIRECTORY = tuple(_access_bits(may, True) for may in range(8))


def changes(attributes: Sattr) -> Changes:
    """A client's `sattr3` as the file system takes it (SERVER_TIME of the one is NOW of the other)."""
    mode, uid, gid, size, atime_ns, mtime_ns = attributes
    return Changes(None if mode is None else mode & 0o7777, uid, gid, size, atime_ns, mtime_ns)


class AttributeProcedures:
    def __init__(self, exports: ExportTable) -> None:
        self._resolve = exports.resolve

    def getattr(self, caller: Caller, buf: Buffer, offset: int, end: int) -> bytes:
        export, node = self._resolve(decode_getattr(buf, offset, end))
        attributes = export.fs.getattr(node)
        uid, gid = shown_owner(export, attributes)
        return encode_getattr(attributes, uid, gid, export.fsid)

    def access(self, caller: Caller, buf: Buffer, offset: int, end: int) -> bytes:
        """Bits that mean nothing for the type of the object are answered 0, as the RFC wants."""
        handle, wanted = decode_access(buf, offset, end)
        export, node = self._resolve(handle)
        attributes = export.before(node)
        may = export.fs.access(caller, node)
        granted = _ACCESS_DIRECTORY[may] if node.kind == stat.S_IFDIR else _ACCESS_FILE[may]
        return encode_access(post_op_attr(export, attributes), wanted & granted)

    def setattr(self, caller: Caller, buf: Buffer, offset: int, end: int) -> Maybe[bytes]:
        handle, attributes, guard_ns = decode_setattr(buf, offset, end)
        export, node = self._resolve(handle)
        before = export.before(node)
        if guard_ns is not None and guard_ns != before.st_ctime_ns:
            raise Nfs3Error(Nfsstat3.NFS3ERR_NOT_SYNC, "the file changed since the client looked")
        wanted = changes(attributes)
        if wanted == NO_CHANGES:
            return with_wcc(export, node, before, export.fs.getattr(node), _encode_setattr)
        changed = export.fs.setattr(caller, node, wanted)
        if type(changed) is Later:
            return with_wcc(export, node, before, changed, _encode_setattr)
        # What it returns is how the file is now, in the same turn.
        return encode_setattr(wcc_data(export, before, changed))  # type: ignore[arg-type]  # mypy: `type() is`


def _encode_setattr(wcc: bytes, _attributes: Attributes) -> bytes:
    return encode_setattr(wcc)
