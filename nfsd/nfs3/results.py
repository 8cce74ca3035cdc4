"""Encoders of the procedures' results (RFC 1813 section 3.3), built from three pieces a caller may keep and reuse:

    attr = pack_post_op_attr(st, uid, gid, fsid)      # post_op_attr, 88 bytes; NO_ATTR when there is none
    wcc = pack_wcc(before, after, uid, gid, fsid)     # wcc_data; NO_WCC when there is none
    encode_lookup(handle, attr, dir_attr)             # a whole result, the status first

Pieces, because two objects of one result may show different owners, and because a join of packed pieces is as fast as
one large `pack` of all their fields.

`st` is any object of `os.stat_result`'s shape: st_mode, st_ino, st_nlink, st_size, st_blocks, st_atime_ns, st_mtime_ns,
st_ctime_ns, and st_rdev for devices. Its owner is never looked at: uid, gid and fsid to show are arguments.

Times are uint32 seconds on the wire: a time before 1970 is sent as 0, one after 2106-02-07 as the last that fits.
"""

import struct
from typing import Any, Protocol

from nfsd.nfs3.const import Ftype3, Proc
from nfsd.nfs3.types import NS
from nfsd.xdr import PADDING, UINT32_MAX, Buffer


class Stat(Protocol):
    """What is read of a file's attributes."""

    @property
    def st_mode(self) -> int: ...
    @property
    def st_ino(self) -> int: ...
    @property
    def st_nlink(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_blocks(self) -> int: ...
    @property
    def st_atime_ns(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ctime_ns(self) -> int: ...


class StatBefore(Protocol):
    """What wcc_attr keeps of an object before the operation (section 2.5)."""

    @property
    def st_size(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ctime_ns(self) -> int: ...


FALSE = b"\0\0\0\0"
TRUE = b"\0\0\0\1"
NO_ATTR = FALSE
NO_WCC = FALSE + FALSE
NO_HANDLE = FALSE
OK = FALSE  # NFS3_OK, the first word of a result
FATTR3_BYTES = 84

# ftype3 mode nlink uid gid | size used | rdev | fsid fileid | atime mtime ctime
_FATTR_FIELDS = "5I2Q2I2Q6I"
_pack_word_fattr = struct.Struct(">I" + _FATTR_FIELDS).pack
_pack_pre_op_attr = struct.Struct(">IQ4I").pack  # TRUE size mtime ctime
_WORD = struct.Struct(">I")
_FSSTAT = struct.Struct(">6QI")
_FSINFO = struct.Struct(">7IQ3I")
_PATHCONF = struct.Struct(">6I")
_READ_HEAD = struct.Struct(">3I")
_WRITE_TAIL = struct.Struct(">2I8s")

_S_IFMT = 0o170000
_FTYPES = {
    0o100000: int(Ftype3.NF3REG),
    0o040000: int(Ftype3.NF3DIR),
    0o060000: int(Ftype3.NF3BLK),
    0o020000: int(Ftype3.NF3CHR),
    0o120000: int(Ftype3.NF3LNK),
    0o140000: int(Ftype3.NF3SOCK),
    0o010000: int(Ftype3.NF3FIFO),
}
_DEVICES = (int(Ftype3.NF3BLK), int(Ftype3.NF3CHR))
_TIME_END_NS = (UINT32_MAX + 1) * NS  # the first time that does not fit: 2106-02-07 06:28:16


# --- attributes -------------------------------------------------------------------------------------------------------


def pack_fattr(st: Stat, uid: int, gid: int, fsid: int) -> bytes:
    """`fattr3`, 84 bytes."""
    return _word_and_fattr(0, st, uid, gid, fsid)[4:]


def pack_post_op_attr(st: Stat | None, uid: int, gid: int, fsid: int) -> bytes:
    """`post_op_attr`: 88 bytes, or the 4 of `NO_ATTR` for None."""
    return NO_ATTR if st is None else _word_and_fattr(1, st, uid, gid, fsid)


def pack_wcc(before: StatBefore | None, after: Stat | None, uid: int, gid: int, fsid: int) -> bytes:
    """`wcc_data`. Leave out `before` unless it was read in one step with the operation: a client that finds its cached
    times in it keeps its cache, although somebody else wrote in between (section 2.5, pre_op_attr)."""
    pre = FALSE if before is None else _pre_op_attr(before)
    return pre + (NO_ATTR if after is None else _word_and_fattr(1, after, uid, gid, fsid))


def _word_and_fattr(word: int, st: Stat, uid: int, gid: int, fsid: int) -> bytes:
    """A status or a discriminant and the `fattr3` behind it: the one place that lays out attributes."""
    mode = st.st_mode
    kind = _FTYPES[mode & _S_IFMT]
    major = minor = 0
    if kind in _DEVICES:
        major, minor = _device(st)
    atime, mtime, ctime = st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns
    try:
        return _pack_word_fattr(
            word, kind, mode & 0o7777, st.st_nlink, uid, gid, st.st_size, st.st_blocks * 512, major, minor, fsid,
            st.st_ino, atime // NS, atime % NS, mtime // NS, mtime % NS, ctime // NS, ctime % NS,
        )  # fmt: skip
    except struct.error:  # to look at the times beforehand would cost every call as much as the packing
        times = [word for time_ns in (atime, mtime, ctime) for word in divmod(_clamp(time_ns), NS)]
        return _pack_word_fattr(
            word, kind, mode & 0o7777, st.st_nlink, uid, gid, st.st_size, st.st_blocks * 512, major, minor, fsid,
            st.st_ino, *times,
        )  # fmt: skip


def _pre_op_attr(before: StatBefore) -> bytes:
    mtime, ctime = before.st_mtime_ns, before.st_ctime_ns
    try:
        return _pack_pre_op_attr(1, before.st_size, mtime // NS, mtime % NS, ctime // NS, ctime % NS)
    except struct.error:
        mtime, ctime = _clamp(mtime), _clamp(ctime)
        return _pack_pre_op_attr(1, before.st_size, mtime // NS, mtime % NS, ctime // NS, ctime % NS)


def _clamp(time_ns: int) -> int:
    return min(max(time_ns, 0), _TIME_END_NS - 1)


def _device(st: Any) -> tuple[int, int]:
    """specdata3 of a device: major and minor, as glibc cuts `st_rdev` (gnu_dev_major, gnu_dev_minor)."""
    rdev = st.st_rdev
    return (rdev >> 8 & 0xFFF) | (rdev >> 32 & ~0xFFF), (rdev & 0xFF) | (rdev >> 12 & ~0xFF & UINT32_MAX)


def pack_opaque(value: Buffer) -> bytes:
    """`opaque x<>` or `string x<>`: length, bytes, padding. A file handle is one (nfs_fh3)."""
    return b"".join((_WORD.pack(len(value)), value, PADDING[len(value) & 3]))


# --- whole results, status NFS3_OK ------------------------------------------------------------------------------------


def encode_getattr(st: Stat, uid: int, gid: int, fsid: int) -> bytes:
    return _word_and_fattr(0, st, uid, gid, fsid)


def encode_wcc(wcc: bytes) -> bytes:
    """SETATTR, REMOVE, RMDIR."""
    return OK + wcc


encode_setattr = encode_remove = encode_rmdir = encode_wcc


def encode_lookup(handle: bytes, attr: bytes, dir_attr: bytes) -> bytes:
    return b"".join((OK, pack_opaque(handle), attr, dir_attr))


def encode_access(attr: bytes, access: int) -> bytes:
    return OK + attr + _WORD.pack(access)


def encode_readlink(attr: bytes, path: bytes) -> bytes:
    return OK + attr + pack_opaque(path)


def encode_read_head(attr: bytes, count: int, eof: bool) -> bytes:
    """A READ's result up to its data. `count` bytes of data follow, then `PADDING[count & 3]` (from `nfsd.xdr`):
    as parts of the reply, or joined to it when they are few."""
    return OK + attr + _READ_HEAD.pack(count, eof, count)


def encode_write(wcc: bytes, count: int, committed: int, verf: bytes) -> bytes:
    """`verf`: 8 bytes, another one after each restart that may have lost UNSTABLE data."""
    return OK + wcc + _WRITE_TAIL.pack(count, committed, verf)


def encode_create(handle: bytes | None, attr: bytes, dir_wcc: bytes) -> bytes:
    """CREATE, MKDIR, SYMLINK, MKNOD. Without a handle the client looks the name up."""
    if handle is None:
        return b"".join((OK, NO_HANDLE, attr, dir_wcc))
    return b"".join((OK, TRUE, pack_opaque(handle), attr, dir_wcc))


encode_mkdir = encode_symlink = encode_mknod = encode_create


def encode_rename(fromdir_wcc: bytes, todir_wcc: bytes) -> bytes:
    return OK + fromdir_wcc + todir_wcc


def encode_link(attr: bytes, linkdir_wcc: bytes) -> bytes:
    return OK + attr + linkdir_wcc


def encode_commit(wcc: bytes, verf: bytes) -> bytes:
    return OK + wcc + verf


def encode_fsstat(
    attr: bytes, tbytes: int, fbytes: int, abytes: int, tfiles: int, ffiles: int, afiles: int, invarsec: int
) -> bytes:
    return OK + attr + _FSSTAT.pack(tbytes, fbytes, abytes, tfiles, ffiles, afiles, invarsec)


def encode_fsinfo(
    attr: bytes,
    *,
    rtmax: int,
    rtpref: int,
    rtmult: int,
    wtmax: int,
    wtpref: int,
    wtmult: int,
    dtpref: int,
    maxfilesize: int,
    time_delta_ns: int,
    properties: int,
) -> bytes:
    """Sizes in bytes; `properties` is FSF3_*."""
    delta = divmod(time_delta_ns, NS)
    tail = _FSINFO.pack(rtmax, rtpref, rtmult, wtmax, wtpref, wtmult, dtpref, maxfilesize, *delta, properties)
    return OK + attr + tail


def encode_pathconf(
    attr: bytes,
    *,
    linkmax: int,
    name_max: int,
    no_trunc: bool,
    chown_restricted: bool,
    case_insensitive: bool,
    case_preserving: bool,
) -> bytes:
    tail = _PATHCONF.pack(linkmax, name_max, no_trunc, chown_restricted, case_insensitive, case_preserving)
    return OK + attr + tail


# --- failures: the resfail of each shape ------------------------------------------------------------------------------


def encode_error(status: int) -> bytes:
    """GETATTR: nothing behind the status."""
    return _WORD.pack(status)


def encode_error_attr(status: int, attr: bytes = NO_ATTR) -> bytes:
    """LOOKUP (of the directory), ACCESS, READLINK, READ, READDIR, READDIRPLUS, FSSTAT, FSINFO, PATHCONF."""
    return _WORD.pack(status) + attr


def encode_error_wcc(status: int, wcc: bytes = NO_WCC) -> bytes:
    """SETATTR, WRITE, COMMIT (of the file), CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR (of the directory)."""
    return _WORD.pack(status) + wcc


def encode_error_rename(status: int, fromdir_wcc: bytes = NO_WCC, todir_wcc: bytes = NO_WCC) -> bytes:
    return _WORD.pack(status) + fromdir_wcc + todir_wcc


def encode_error_link(status: int, attr: bytes = NO_ATTR, linkdir_wcc: bytes = NO_WCC) -> bytes:
    return _WORD.pack(status) + attr + linkdir_wcc


_EMPTY_FAILURES = {
    Proc.GETATTR: b"",
    **dict.fromkeys((Proc.LOOKUP, Proc.ACCESS, Proc.READLINK, Proc.READ, Proc.READDIR, Proc.READDIRPLUS), NO_ATTR),
    **dict.fromkeys((Proc.FSSTAT, Proc.FSINFO, Proc.PATHCONF), NO_ATTR),
    **dict.fromkeys((Proc.SETATTR, Proc.WRITE, Proc.COMMIT, Proc.REMOVE, Proc.RMDIR), NO_WCC),
    **dict.fromkeys((Proc.CREATE, Proc.MKDIR, Proc.SYMLINK, Proc.MKNOD), NO_WCC),
    Proc.RENAME: NO_WCC + NO_WCC,
    Proc.LINK: NO_ATTR + NO_WCC,
}


def encode_failure(proc: int, status: int) -> bytes:
    """The failure of any procedure but NULL with no attributes at all: when there is no object to speak of."""
    return _WORD.pack(status) + _EMPTY_FAILURES[Proc(proc)]
