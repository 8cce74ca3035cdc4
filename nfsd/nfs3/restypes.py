"""The results of the 22 procedures (RFC 1813 section 3.3), and the table of what each takes and gives.

The other half of `nfs3.types`: a result is `(status, body)`, where the body is the procedure's resok or resfail.
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from nfsd.limits import READDIR_BYTES_MAX
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Nfsstat3, Proc, StableHow
from nfsd.nfs3.types import (
    Bool,
    Data,
    Fattr3,
    Filename3,
    Nfspath3,
    Nfstime3,
    PostOpAttr,
    PostOpFh3,
    Uint32,
    Uint64,
    Verf3,
    Void,
    WccData,
)
from nfsd.xdr import Chain, Nested, Packer, Struct, Unpacker

NO_WCC = WccData()


@dataclass(frozen=True, slots=True)
class Getattr3Ok(Struct):
    obj_attributes: Fattr3


@dataclass(frozen=True, slots=True)
class PostOp3(Struct):
    """A resfail of attributes only: LOOKUP, ACCESS, READLINK, READ, READDIR, READDIRPLUS, FSSTAT, FSINFO, PATHCONF."""

    attributes: PostOpAttr = None


@dataclass(frozen=True, slots=True)
class Wcc3(Struct):
    """SETATTR, REMOVE and RMDIR always; the resfail of WRITE, CREATE, MKDIR, SYMLINK, MKNOD and COMMIT."""

    wcc: WccData = NO_WCC


@dataclass(frozen=True, slots=True)
class Lookup3Ok(Struct):
    object: t.NfsFh3
    obj_attributes: PostOpAttr
    dir_attributes: PostOpAttr


@dataclass(frozen=True, slots=True)
class Access3Ok(Struct):
    obj_attributes: PostOpAttr
    access: Uint32


@dataclass(frozen=True, slots=True)
class Readlink3Ok(Struct):
    symlink_attributes: PostOpAttr
    data: Nfspath3


@dataclass(frozen=True, slots=True)
class Read3Ok(Struct):
    file_attributes: PostOpAttr
    count: Uint32
    eof: Bool
    data: Data


@dataclass(frozen=True, slots=True)
class Write3Ok(Struct):
    file_wcc: WccData
    count: Uint32
    committed: StableHow
    verf: Verf3


@dataclass(frozen=True, slots=True)
class Create3Ok(Struct):
    """CREATE, MKDIR, SYMLINK and MKNOD."""

    obj: PostOpFh3
    obj_attributes: PostOpAttr
    dir_wcc: WccData


@dataclass(frozen=True, slots=True)
class Rename3Res(Struct):
    """Both outcomes."""

    fromdir_wcc: WccData = NO_WCC
    todir_wcc: WccData = NO_WCC


@dataclass(frozen=True, slots=True)
class Link3Res(Struct):
    """Both outcomes."""

    file_attributes: PostOpAttr = None
    linkdir_wcc: WccData = NO_WCC


@dataclass(frozen=True, slots=True)
class Entry3(Struct):
    fileid: Uint64
    name: Filename3
    cookie: Uint64


@dataclass(frozen=True, slots=True)
class Entryplus3(Struct):
    fileid: Uint64
    name: Filename3
    cookie: Uint64
    name_attributes: PostOpAttr
    name_handle: PostOpFh3


# The smallest entry, a name of one byte, has 28 bytes with its TRUE.
_ENTRIES_MAX = READDIR_BYTES_MAX // 28


@dataclass(frozen=True, slots=True)
class Readdir3Ok(Struct):
    dir_attributes: PostOpAttr
    cookieverf: Verf3
    entries: Annotated[tuple[Entry3, ...], Chain(Nested(Entry3), _ENTRIES_MAX)]
    eof: Bool


@dataclass(frozen=True, slots=True)
class Readdirplus3Ok(Struct):
    dir_attributes: PostOpAttr
    cookieverf: Verf3
    entries: Annotated[tuple[Entryplus3, ...], Chain(Nested(Entryplus3), _ENTRIES_MAX)]
    eof: Bool


@dataclass(frozen=True, slots=True)
class Fsstat3Ok(Struct):
    """Bytes and files of the volume, free ones, and those free to this caller; `invarsec` in seconds."""

    obj_attributes: PostOpAttr
    tbytes: Uint64
    fbytes: Uint64
    abytes: Uint64
    tfiles: Uint64
    ffiles: Uint64
    afiles: Uint64
    invarsec: Uint32


@dataclass(frozen=True, slots=True)
class Fsinfo3Ok(Struct):
    obj_attributes: PostOpAttr
    rtmax: Uint32
    rtpref: Uint32
    rtmult: Uint32
    wtmax: Uint32
    wtpref: Uint32
    wtmult: Uint32
    dtpref: Uint32
    maxfilesize: Uint64
    time_delta: Nfstime3
    properties: Uint32


@dataclass(frozen=True, slots=True)
class Pathconf3Ok(Struct):
    obj_attributes: PostOpAttr
    linkmax: Uint32
    name_max: Uint32
    no_trunc: Bool
    chown_restricted: Bool
    case_insensitive: Bool
    case_preserving: Bool


@dataclass(frozen=True, slots=True)
class Commit3Ok(Struct):
    file_wcc: WccData
    verf: Verf3


class Signature(NamedTuple):
    """What a procedure takes, and gives on success and on failure."""

    arguments: type[Struct]
    resok: type[Struct]
    resfail: type[Struct]


SIGNATURES: dict[Proc, Signature] = {
    Proc.GETATTR: Signature(t.Object3Args, Getattr3Ok, Void),
    Proc.SETATTR: Signature(t.Setattr3Args, Wcc3, Wcc3),
    Proc.LOOKUP: Signature(t.Diropargs3Args, Lookup3Ok, PostOp3),
    Proc.ACCESS: Signature(t.Access3Args, Access3Ok, PostOp3),
    Proc.READLINK: Signature(t.Object3Args, Readlink3Ok, PostOp3),
    Proc.READ: Signature(t.Read3Args, Read3Ok, PostOp3),
    Proc.WRITE: Signature(t.Write3Args, Write3Ok, Wcc3),
    Proc.CREATE: Signature(t.Create3Args, Create3Ok, Wcc3),
    Proc.MKDIR: Signature(t.Mkdir3Args, Create3Ok, Wcc3),
    Proc.SYMLINK: Signature(t.Symlink3Args, Create3Ok, Wcc3),
    Proc.MKNOD: Signature(t.Mknod3Args, Create3Ok, Wcc3),
    Proc.REMOVE: Signature(t.Diropargs3Args, Wcc3, Wcc3),
    Proc.RMDIR: Signature(t.Diropargs3Args, Wcc3, Wcc3),
    Proc.RENAME: Signature(t.Rename3Args, Rename3Res, Rename3Res),
    Proc.LINK: Signature(t.Link3Args, Link3Res, Link3Res),
    Proc.READDIR: Signature(t.Readdir3Args, Readdir3Ok, PostOp3),
    Proc.READDIRPLUS: Signature(t.Readdirplus3Args, Readdirplus3Ok, PostOp3),
    Proc.FSSTAT: Signature(t.Object3Args, Fsstat3Ok, PostOp3),
    Proc.FSINFO: Signature(t.Object3Args, Fsinfo3Ok, PostOp3),
    Proc.PATHCONF: Signature(t.Object3Args, Pathconf3Ok, PostOp3),
    Proc.COMMIT: Signature(t.Commit3Args, Commit3Ok, Wcc3),
}
"""All but NULL, whose arguments and results have no bytes at all, not even a status."""


def pack_result(status: Nfsstat3, body: Struct) -> bytes:
    """`switch (nfsstat3 status)`: the status, then resok or resfail."""
    packer = Packer()
    packer.uint32(status)
    body.pack(packer)
    return bytes(packer)


def unpack_result(proc: Proc, buf: bytes) -> tuple[Nfsstat3, Struct]:
    """The whole of a procedure's results. Raises `XdrError`, also for bytes that are left over."""
    unpacker = Unpacker(buf)
    status = unpacker.enum(Nfsstat3)
    signature = SIGNATURES[proc]
    body = (signature.resok if status is Nfsstat3.NFS3_OK else signature.resfail).unpack(unpacker)
    unpacker.done()
    return status, body
