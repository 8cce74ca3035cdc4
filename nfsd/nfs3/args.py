"""Decoders of the procedures' arguments (RFC 1813 section 3.3), one a procedure: `decode_x(buf, offset, end)`.

Each returns a plain tuple in the RFC's field order. Handles and names are `bytes`; WRITE's data is a `memoryview` of
`buf`, valid as long as the record is. Raises `XdrError` and nothing else, whatever the bytes.

How the hot ones work: the length of the first handle picks a `Struct` that reads the handle and all fixed fields behind
it at once; a handle of the usual length is tried first, with its length among the fields. `nfs3.types` is the
specification; a property test holds the two equal.

Decisions, with their reasons:
- Bytes after the arguments are ignored. Linux nfsd, ganesha and libtirpc do the same; the arguments say where they
  end, so nothing is guessed.
- A handle longer than 64 bytes is undecodable (`opaque data<NFS3_FHSIZE>`). A name has no maximum in XDR
  (`string<>`): a long one reaches the procedure, which answers NFS3ERR_NAMETOOLONG.
- WRITE's `count` must equal the length of its data: Linux nfsd answers GARBAGE_ARGS too, and there is no telling which
  of the two the client meant.
- MKNOD of a type it cannot make (NF3REG, NF3DIR, NF3LNK) decodes, and is the procedure's NFS3ERR_BADTYPE.
"""

import struct

from nfsd.errors import XdrError
from nfsd.limits import FH_BYTES_MAX
from nfsd.nfs3.const import Createmode3, Ftype3
from nfsd.nfs3.types import NS, SERVER_TIME, Specdata3
from nfsd.xdr import Buffer

Sattr = tuple[int | None, int | None, int | None, int | None, int | None, int | None]
"""The fields of `nfs3.types.Sattr3`: mode, uid, gid, size, atime_ns, mtime_ns."""

Createhow3 = tuple[bytes, bytes, int, Sattr | None, bytes | None]

_WORD = struct.Struct(">I")
_TWO_WORDS = struct.Struct(">II")
_word_at = _WORD.unpack_from
_two_words_at = _TWO_WORDS.unpack_from
_hyper_at = struct.Struct(">Q").unpack_from

_FTYPES = frozenset(Ftype3)
_DEVICES = frozenset((Ftype3.NF3BLK, Ftype3.NF3CHR))
_PIPES = frozenset((Ftype3.NF3SOCK, Ftype3.NF3FIFO))


def _after_handle(fields: str) -> list[struct.Struct]:
    """For each length of a handle, what reads it (behind its length) and the fixed fields that follow it."""
    return [struct.Struct(f">{length}s{-length & 3}x{fields}") for length in range(FH_BYTES_MAX + 1)]


_USUAL_BYTES = 32
"""Of the handles this server makes; every other length is decoded too, a little slower."""
_usual_handle = struct.Struct(">I32s").unpack_from
_usual_word = struct.Struct(">I32sI").unpack_from
_usual_range = struct.Struct(">I32sQI").unpack_from
_usual_write = struct.Struct(">I32sQIII").unpack_from

_HANDLE = _after_handle("")
_HANDLE_WORD = _after_handle("I")  # ACCESS, and handle + length of a name
_HANDLE_RANGE = _after_handle("QI")  # READ, COMMIT
_WRITE = _after_handle("QIII")
_READDIR = _after_handle("Q8sI")
_READDIRPLUS = _after_handle("Q8sII")


def _layout(layouts: list[struct.Struct], buf: Buffer, offset: int, end: int) -> struct.Struct:
    """The layout for the handle at `offset`; it fits before `end`."""
    if offset + 4 > end:
        raise XdrError(offset, "a file handle")
    length: int = _WORD.unpack_from(buf, offset)[0]
    if length > FH_BYTES_MAX:
        raise XdrError(offset, f"a file handle of at most {FH_BYTES_MAX} bytes, found {length}")
    layout = layouts[length]
    if offset + 4 + layout.size > end:
        raise XdrError(offset, f"a file handle and {layout.size - length} bytes behind it")
    return layout


def _opaque(buf: Buffer, offset: int, end: int) -> tuple[bytes, int]:
    """A counted string or opaque at `offset`, and where the next value begins."""
    if offset + 4 > end:
        raise XdrError(offset, "a length")
    (length,) = _WORD.unpack_from(buf, offset)
    return _counted(buf, offset + 4, length, end)


def _counted(buf: Buffer, start: int, length: int, end: int) -> tuple[bytes, int]:
    following = start + length + (-length & 3)
    if following > end:
        raise XdrError(start, f"{length} bytes and their padding, {end - start} are left")
    return bytes(buf[start : start + length]), following


def _diropargs(buf: Buffer, offset: int, end: int) -> tuple[bytes, bytes, int]:
    """`diropargs3`, and where the next value begins."""
    start = offset + 40
    usual = 0
    if start <= end:
        usual, handle, length = _usual_word(buf, offset)
    if usual != _USUAL_BYTES:
        layout = _layout(_HANDLE_WORD, buf, offset, end)
        handle, length = layout.unpack_from(buf, offset + 4)
        start = offset + 4 + layout.size
    following = start + length + (-length & 3)
    if following > end:
        raise XdrError(start, f"a name of {length} bytes and its padding, {end - start} are left")
    return handle, bytes(buf[start : start + length]), following


def decode_object(buf: Buffer, offset: int, end: int) -> bytes:
    """GETATTR, READLINK, FSSTAT, FSINFO, PATHCONF: the handle itself."""
    if offset + 36 <= end:
        length, handle = _usual_handle(buf, offset)
        if length == _USUAL_BYTES:
            return handle  # type: ignore[no-any-return]
    layout = _layout(_HANDLE, buf, offset, end)
    return layout.unpack_from(buf, offset + 4)[0]  # type: ignore[no-any-return]


decode_getattr = decode_readlink = decode_fsstat = decode_fsinfo = decode_pathconf = decode_object


def decode_access(buf: Buffer, offset: int, end: int) -> tuple[bytes, int]:
    """`(object, access)`"""
    if offset + 40 <= end:
        length, handle, access = _usual_word(buf, offset)
        if length == _USUAL_BYTES:
            return handle, access
    return _layout(_HANDLE_WORD, buf, offset, end).unpack_from(buf, offset + 4)


def decode_lookup(buf: Buffer, offset: int, end: int) -> tuple[bytes, bytes]:
    """LOOKUP, REMOVE, RMDIR: `(dir, name)`"""
    handle, name, _ = _diropargs(buf, offset, end)
    return handle, name


decode_remove = decode_rmdir = decode_lookup


def decode_read(buf: Buffer, offset: int, end: int) -> tuple[bytes, int, int]:
    """READ, COMMIT: `(file, offset, count)`"""
    if offset + 48 <= end:
        length, handle, position, count = _usual_range(buf, offset)
        if length == _USUAL_BYTES:
            return handle, position, count
    return _layout(_HANDLE_RANGE, buf, offset, end).unpack_from(buf, offset + 4)


decode_commit = decode_read


def decode_write(buf: Buffer, offset: int, end: int) -> tuple[bytes, int, int, int, memoryview]:
    """`(file, offset, count, stable, data)`: `count` is `len(data)`, and `data` a view of `buf`."""
    start = offset + 56
    usual = 0
    if start <= end:
        usual, handle, position, count, stable, length = _usual_write(buf, offset)
    if usual != _USUAL_BYTES:
        layout = _layout(_WRITE, buf, offset, end)
        handle, position, count, stable, length = layout.unpack_from(buf, offset + 4)
        start = offset + 4 + layout.size
    if count != length:
        raise XdrError(start - 4, f"count {count} equal to the length of data, found {length}")
    if start + length + (-length & 3) > end:
        raise XdrError(start, f"{length} bytes of data and their padding, {end - start} are left")
    if stable > 2:
        raise XdrError(start - 8, f"stable_how, found {stable}")
    return handle, position, count, stable, memoryview(buf)[start : start + length]


def decode_readdir(buf: Buffer, offset: int, end: int) -> tuple[bytes, int, bytes, int]:
    """`(dir, cookie, cookieverf, count)`"""
    return _layout(_READDIR, buf, offset, end).unpack_from(buf, offset + 4)


def decode_readdirplus(buf: Buffer, offset: int, end: int) -> tuple[bytes, int, bytes, int, int]:
    """`(dir, cookie, cookieverf, dircount, maxcount)`"""
    return _layout(_READDIRPLUS, buf, offset, end).unpack_from(buf, offset + 4)


def decode_setattr(buf: Buffer, offset: int, end: int) -> tuple[bytes, Sattr, int | None]:
    """`(object, new_attributes, guard ctime in nanoseconds or None)`"""
    following = offset + 36
    usual = 0
    if following <= end:
        usual, handle = _usual_handle(buf, offset)
    if usual != _USUAL_BYTES:
        layout = _layout(_HANDLE, buf, offset, end)
        (handle,) = layout.unpack_from(buf, offset + 4)
        following = offset + 4 + layout.size
    attributes, following = _sattr(buf, following, end)
    check, following = _choice(buf, following, end, 1)
    return handle, attributes, _time(buf, following, end) if check else None


def decode_create(buf: Buffer, offset: int, end: int) -> Createhow3:
    """`(dir, name, mode, obj_attributes, verf)`: attributes are None for EXCLUSIVE, the verifier for the others."""
    handle, name, following = _diropargs(buf, offset, end)
    mode, following = _choice(buf, following, end, Createmode3.EXCLUSIVE)
    if mode != Createmode3.EXCLUSIVE:
        return handle, name, mode, _sattr(buf, following, end)[0], None
    return handle, name, mode, None, _counted(buf, following, 8, end)[0]


def decode_mkdir(buf: Buffer, offset: int, end: int) -> tuple[bytes, bytes, Sattr]:
    """`(dir, name, attributes)`"""
    handle, name, following = _diropargs(buf, offset, end)
    return handle, name, _sattr(buf, following, end)[0]


def decode_symlink(buf: Buffer, offset: int, end: int) -> tuple[bytes, bytes, Sattr, bytes]:
    """`(dir, name, symlink_attributes, symlink_data)`"""
    handle, name, following = _diropargs(buf, offset, end)
    attributes, following = _sattr(buf, following, end)
    return handle, name, attributes, _opaque(buf, following, end)[0]


def decode_mknod(buf: Buffer, offset: int, end: int) -> tuple[bytes, bytes, int, Sattr | None, Specdata3 | None]:
    """`(dir, name, type, attributes, spec)`: `spec` for devices only; neither for types MKNOD cannot make."""
    handle, name, following = _diropargs(buf, offset, end)
    kind, following = _choice(buf, following, end, Ftype3.NF3FIFO)
    if kind not in _FTYPES:
        raise XdrError(following - 4, f"ftype3, found {kind}")
    if kind in _PIPES:
        return handle, name, kind, _sattr(buf, following, end)[0], None
    if kind not in _DEVICES:
        return handle, name, kind, None, None
    attributes, following = _sattr(buf, following, end)
    if following + 8 > end:
        raise XdrError(following, "specdata3")
    return handle, name, kind, attributes, Specdata3(*_TWO_WORDS.unpack_from(buf, following))


def decode_rename(buf: Buffer, offset: int, end: int) -> tuple[bytes, bytes, bytes, bytes]:
    """`(from.dir, from.name, to.dir, to.name)`"""
    from_dir, from_name, following = _diropargs(buf, offset, end)
    to_dir, to_name, _ = _diropargs(buf, following, end)
    return from_dir, from_name, to_dir, to_name


def decode_link(buf: Buffer, offset: int, end: int) -> tuple[bytes, bytes, bytes]:
    """`(file, link.dir, link.name)`"""
    layout = _layout(_HANDLE, buf, offset, end)
    (handle,) = layout.unpack_from(buf, offset + 4)
    link_dir, name, _ = _diropargs(buf, offset + 4 + layout.size, end)
    return handle, link_dir, name


def _choice(buf: Buffer, offset: int, end: int, maximum: int) -> tuple[int, int]:
    """A bool or an enum of 0 to `maximum`, and where the next value begins."""
    if offset + 4 > end:
        raise XdrError(offset, "a discriminant")
    (value,) = _WORD.unpack_from(buf, offset)
    if value > maximum:
        raise XdrError(offset, f"0 to {maximum}, found {value}")
    return value, offset + 4


def _time(buf: Buffer, offset: int, end: int) -> int:
    """`nfstime3` in nanoseconds."""
    if offset + 8 > end:
        raise XdrError(offset, "nfstime3")
    seconds, nseconds = _TWO_WORDS.unpack_from(buf, offset)
    return seconds * NS + nseconds  # type: ignore[no-any-return]


def _sattr(buf: Buffer, offset: int, end: int) -> tuple[Sattr, int]:
    """`sattr3`, and where the next value begins.

    Read straight through and asked once, at the end, whether it was there: what lies behind `end` is another record's
    and goes with the error.
    """
    mode = uid = gid = size = atime = mtime = None
    try:
        has_mode, word = _two_words_at(buf, offset)  # the last of the three has size, atime and mtime behind it
        if has_mode:
            mode = word
            offset += 4
        has_uid, word = _two_words_at(buf, offset + 4)
        if has_uid:
            uid = word
            offset += 4
        has_gid, word = _two_words_at(buf, offset + 8)
        if has_gid:
            gid = word
            offset += 4
        has_size, how = _two_words_at(buf, offset + 12)
        offset += 16
        if has_size:
            (size,) = _hyper_at(buf, offset)
            offset += 8
            (how,) = _word_at(buf, offset)
        if has_mode > 1 or has_uid > 1 or has_gid > 1 or has_size > 1:
            raise XdrError(offset, f"0 or 1 four times, found {has_mode}, {has_uid}, {has_gid}, {has_size}")
        if how:
            atime, offset = _set_time(buf, offset)
        else:
            offset += 4
        (how,) = _word_at(buf, offset)
        if how:
            mtime, offset = _set_time(buf, offset)
        else:
            offset += 4
    except struct.error:
        raise XdrError(offset, "sattr3") from None
    if offset > end:
        raise XdrError(offset, "sattr3")
    return (mode, uid, gid, size, atime, mtime), offset


def _set_time(buf: Buffer, offset: int) -> tuple[int | None, int]:
    """`set_atime`, `set_mtime`. struct.error at the end of the buffer."""
    (how,) = _word_at(buf, offset)
    if how == 2:
        seconds, nseconds = _two_words_at(buf, offset + 4)
        return seconds * NS + nseconds, offset + 12
    if how > 2:
        raise XdrError(offset, f"time_how, found {how}")
    return (SERVER_TIME if how else None), offset + 4
