"""FSSTAT, FSINFO and PATHCONF (RFC 1813 sections 3.3.18 to 3.3.20): what the volume is and has."""

from __future__ import annotations

from nfsd.exports import ExportTable
from nfsd.limits import DTPREF_BYTES, NAME_BYTES_MAX, RTMAX_BYTES, WTMAX_BYTES
from nfsd.nfs3.args import decode_fsinfo, decode_fsstat, decode_pathconf
from nfsd.nfs3.const import FSF3_CANSETTIME, FSF3_HOMOGENEOUS, FSF3_LINK, FSF3_SYMLINK
from nfsd.nfs3.results import encode_fsinfo, encode_fsstat, encode_pathconf
from nfsd.procedures.data import MAX_FILE_SIZE
from nfsd.procedures.shown import post_op_attr
from nfsd.vfs.interface import Caller
from nfsd.xdr import Buffer

# A page: what reads and writes should be multiples of.
_MULTIPLE_BYTES = 4096
# EXT4_LINK_MAX. What lies below may allow more (xfs) or fewer (btrfs in one directory); link(2) has the last word.
LINK_MAX = 65000


class InfoProcedures:
    def __init__(self, exports: ExportTable) -> None:
        self._resolve = exports.resolve

    def fsstat(self, caller: Caller, buf: Buffer, offset: int, end: int) -> bytes:
        """`df` in the client: the quota's figures where there is one. invarsec 0: they may change at any time."""
        export, node = self._resolve(decode_fsstat(buf, offset, end))
        return encode_fsstat(post_op_attr(export, export.fs.getattr(node)), *export.fs.statistics(), 0)

    def fsinfo(self, caller: Caller, buf: Buffer, offset: int, end: int) -> bytes:
        export, node = self._resolve(decode_fsinfo(buf, offset, end))
        return encode_fsinfo(
            post_op_attr(export, export.fs.getattr(node)),
            rtmax=RTMAX_BYTES,
            rtpref=RTMAX_BYTES,
            rtmult=_MULTIPLE_BYTES,
            wtmax=WTMAX_BYTES,
            wtpref=WTMAX_BYTES,
            wtmult=_MULTIPLE_BYTES,
            dtpref=DTPREF_BYTES,
            maxfilesize=MAX_FILE_SIZE,
            time_delta_ns=1,
            properties=FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME,
        )

    def pathconf(self, caller: Caller, buf: Buffer, offset: int, end: int) -> bytes:
        export, node = self._resolve(decode_pathconf(buf, offset, end))
        return encode_pathconf(
            post_op_attr(export, export.fs.getattr(node)),
            linkmax=LINK_MAX,
            name_max=NAME_BYTES_MAX,
            no_trunc=True,
            chown_restricted=True,
            case_insensitive=False,
            case_preserving=True,
        )
