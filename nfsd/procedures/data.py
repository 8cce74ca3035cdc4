"""READ, WRITE and COMMIT (RFC 1813 sections 3.3.6, 3.3.7, 3.3.21)."""

from __future__ import annotations

from nfsd.errors import Nfs3Error
from nfsd.exports import Export, ExportTable
from nfsd.limits import RTMAX_BYTES
from nfsd.nfs3.args import decode_commit, decode_read, decode_write
from nfsd.nfs3.const import Nfsstat3
from nfsd.nfs3.results import encode_commit, encode_read_head, encode_write
from nfsd.procedures.counts import ProcedureCounts
from nfsd.procedures.parts import FilePart, Pooled
from nfsd.procedures.shown import post_op_attr, wcc_later, wcc_of, with_wcc
from nfsd.rpc.program import Body
from nfsd.vfs.interface import Caller, FileRange, Later, Maybe, ReadResult, Stability
from nfsd.xdr import PADDING, Buffer

_STABILITY = (Stability.UNSTABLE, Stability.DATA_SYNC, Stability.FILE_SYNC)
# Up to here it is cheaper to copy the data behind its header than to send it as a part of its own.
_JOIN_BYTES_MAX = 16384
# offset3 is unsigned, a file's offset is not (off_t): the largest size a file can have.
MAX_FILE_SIZE = (1 << 63) - 1


class DataProcedures:
    def __init__(self, exports: ExportTable, counts: ProcedureCounts) -> None:
        self._resolve = exports.resolve
        self._counts = counts

    def read(self, caller: Caller, buf: Buffer, offset: int, end: int) -> Maybe[Body]:
        """More than RTMAX_BYTES are answered with RTMAX_BYTES: a short READ that is not eof is asked on (3.3.6)."""
        handle, position, count = decode_read(buf, offset, end)
        export, node = self._resolve(handle)
        if position > MAX_FILE_SIZE:
            # Behind every end there can be. (RFC 1813 says "beyond the end: count 0, eof"; lseek would overflow.)
            position, count = MAX_FILE_SIZE, 0
        result = export.fs.read(caller, node, position, min(count, RTMAX_BYTES))
        if isinstance(result, Later):
            return result.then(lambda done: self._read_body(export, done))
        return self._read_body(export, result)

    def _read_body(self, export: Export, result: ReadResult) -> Body:
        data, eof, attributes, release = result
        attr = post_op_attr(export, attributes)
        if isinstance(data, FileRange):
            length = data.length
            part: FilePart | Pooled | bytes = FilePart(data.fd, data.offset, length, data.release)
        else:
            length = len(data)
            if length <= _JOIN_BYTES_MAX:
                self._counts.read_bytes += length
                body = b"".join((encode_read_head(attr, length, eof), data, PADDING[length & 3]))
                if release is not None:
                    release()
                return body
            part = Pooled(data, release) if isinstance(data, memoryview) and release is not None else bytes(data)
        self._counts.read_bytes += length
        head = encode_read_head(attr, length, eof)
        return [head, part, PADDING[length & 3]] if length & 3 else [head, part]

    def write(self, caller: Caller, buf: Buffer, offset: int, end: int) -> Maybe[bytes]:
        handle, position, count, stable, data = decode_write(buf, offset, end)
        export, node = self._resolve(handle)
        if position > MAX_FILE_SIZE - count:
            raise Nfs3Error(Nfsstat3.NFS3ERR_FBIG, f"a write of {count} bytes at {position}")
        fs = export.fs
        before = export.before(node)
        result = fs.write(caller, node, position, data, _STABILITY[stable], before)
        self._counts.written_bytes += count
        if isinstance(result, Later):
            wcc = wcc_later(export, node, before)
            return result.then(lambda done: encode_write(wcc(), count, done, fs.write_verifier))
        return encode_write(wcc_of(export, node, before), count, result, fs.write_verifier)

    def commit(self, caller: Caller, buf: Buffer, offset: int, end: int) -> Maybe[bytes]:
        handle, position, count = decode_commit(buf, offset, end)
        export, node = self._resolve(handle)
        fs = export.fs
        before = export.before(node)
        done = fs.commit(caller, node, min(position, MAX_FILE_SIZE), count)
        return with_wcc(export, node, before, done, lambda wcc, _: encode_commit(wcc, fs.write_verifier))
