"""What a procedure answers when it did not work: the status, and the attributes of the objects it was about.

One place for all procedures. A failed call tells its client how things stand (RFC 1813 section 1.7 and the resfail of
each procedure): a client that is told "no such name" together with the directory's times can remember that there is
none.
"""

from __future__ import annotations

from nfsd.errors import Nfs3Error
from nfsd.exports import ExportTable
from nfsd.nfs3.args import decode_link, decode_object, decode_rename
from nfsd.nfs3.const import Nfsstat3, Proc
from nfsd.nfs3.results import (
    NO_ATTR,
    NO_WCC,
    encode_error,
    encode_error_attr,
    encode_error_link,
    encode_error_rename,
    encode_error_wcc,
)
from nfsd.nfs3.status import allowed_status, status_of_errno
from nfsd.procedures.shown import after, post_op_attr, wcc_data
from nfsd.xdr import Buffer

_ATTR = frozenset(
    (
        Proc.LOOKUP, Proc.ACCESS, Proc.READLINK, Proc.READ, Proc.READDIR, Proc.READDIRPLUS,
        Proc.FSSTAT, Proc.FSINFO, Proc.PATHCONF,
    )
)  # fmt: skip


def status_of(proc: Proc, error: OSError | Nfs3Error) -> Nfsstat3:
    if isinstance(error, Nfs3Error):
        return allowed_status(proc, error.status)
    return status_of_errno(proc, error.errno)


def objects(proc: Proc, buf: Buffer, offset: int, end: int) -> tuple[bytes, ...]:
    """The handles whose attributes a failure of this call carries, in the order of its resfail."""
    if proc is Proc.RENAME:
        from_directory, _, to_directory, _ = decode_rename(buf, offset, end)
        return from_directory, to_directory
    if proc is Proc.LINK:
        return decode_link(buf, offset, end)[:2]
    return (decode_object(buf, offset, end),)


class Failures:
    def __init__(self, exports: ExportTable) -> None:
        self._exports = exports

    def encode(self, proc: Proc, status: Nfsstat3, handles: tuple[bytes, ...], *, at_once: bool) -> bytes:
        """`at_once`: the call failed in the turn it came in, so that what is now was also before it. Never for
        WRITE: a write that ran out of space may have written its first part."""
        unchanged = at_once and proc is not Proc.WRITE
        if proc is Proc.GETATTR:
            return encode_error(status)
        if proc in _ATTR:
            return encode_error_attr(status, self._attr(handles[0]))
        if proc is Proc.RENAME:
            return encode_error_rename(status, self._wcc(handles[0], unchanged), self._wcc(handles[1], unchanged))
        if proc is Proc.LINK:
            return encode_error_link(status, self._attr(handles[0]), self._wcc(handles[1], unchanged))
        return encode_error_wcc(status, self._wcc(handles[0], unchanged))

    def _attr(self, handle: bytes) -> bytes:
        known = self._exports.known(handle)
        return NO_ATTR if known is None else post_op_attr(known[0], after(*known))

    def _wcc(self, handle: bytes, unchanged: bool) -> bytes:
        known = self._exports.known(handle)
        if known is None:
            return NO_WCC
        now = after(*known)
        return wcc_data(known[0], now if unchanged else None, now)
