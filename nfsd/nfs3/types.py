"""The structures of NFSv3 (RFC 1813 sections 2.5 and 3.3), written down as the RFC does, with its field names.

This is the specification of what goes over the wire, and the client's side of tests and probes. The server's hot path
uses `nfs3.args` and `nfs3.results`, which a property test holds equal to this file. Bounds are those of the server:
what is longer here is undecodable. Names are bounded by the record only, since a long one deserves NAMETOOLONG.

Two departures, both for the reader: a union of a bool and a value is `value | None`, and a time a client sets
(`set_atime`, `set_mtime`) is None for DONT_CHANGE, `SERVER_TIME`, or nanoseconds since 1970.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from nfsd.limits import FH_BYTES_MAX
from nfsd.nfs3.const import Createmode3, Ftype3, StableHow, TimeHow
from nfsd.xdr import (
    BOOL,
    UINT32,
    UINT64,
    Fixed,
    Nested,
    Opaque,
    Optional,
    Packer,
    Struct,
    Unpacker,
)

NS = 1_000_000_000
SERVER_TIME: Final = -1
"""In `Sattr3.atime_ns` and `.mtime_ns`: set it to the server's clock (SET_TO_SERVER_TIME). Times on the wire are
unsigned, so no client can say -1 otherwise."""

Uint32 = Annotated[int, UINT32]
Uint64 = Annotated[int, UINT64]
Bool = Annotated[bool, BOOL]
NfsFh3 = Annotated[bytes, Opaque(FH_BYTES_MAX)]
Filename3 = Annotated[bytes, Opaque()]
Nfspath3 = Annotated[bytes, Opaque()]
Data = Annotated[bytes, Opaque()]
Verf3 = Annotated[bytes, Fixed(8)]


# --- section 2.5 ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Specdata3(Struct):
    specdata1: Uint32 = 0
    specdata2: Uint32 = 0


@dataclass(frozen=True, slots=True)
class Nfstime3(Struct):
    seconds: Uint32
    nseconds: Uint32

    @property
    def ns(self) -> int:
        return self.seconds * NS + self.nseconds


@dataclass(frozen=True, slots=True)
class Fattr3(Struct):
    type: Ftype3
    mode: Uint32
    nlink: Uint32
    uid: Uint32
    gid: Uint32
    size: Uint64
    used: Uint64
    rdev: Specdata3
    fsid: Uint64
    fileid: Uint64
    atime: Nfstime3
    mtime: Nfstime3
    ctime: Nfstime3


PostOpAttr = Annotated[Fattr3 | None, Optional(Nested(Fattr3))]
PostOpFh3 = Annotated[bytes | None, Optional(Opaque(FH_BYTES_MAX))]


@dataclass(frozen=True, slots=True)
class WccAttr(Struct):
    size: Uint64
    mtime: Nfstime3
    ctime: Nfstime3


PreOpAttr = Annotated[WccAttr | None, Optional(Nested(WccAttr))]


@dataclass(frozen=True, slots=True)
class WccData(Struct):
    before: PreOpAttr = None
    after: PostOpAttr = None


class _SetTime:
    """`set_atime` and `set_mtime`: a union over time_how. Nanoseconds of 1e9 and more are carried into the seconds:
    Linux nfsd takes them as they are, and no file system stores them."""

    def pack(self, packer: Packer, value: int | None) -> None:
        if value is None:
            packer.uint32(TimeHow.DONT_CHANGE)
        elif value == SERVER_TIME:
            packer.uint32(TimeHow.SET_TO_SERVER_TIME)
        else:
            packer.uint32(TimeHow.SET_TO_CLIENT_TIME)
            Nfstime3(*divmod(value, NS)).pack(packer)

    def unpack(self, unpacker: Unpacker) -> int | None:
        how = unpacker.enum(TimeHow)
        if how is TimeHow.DONT_CHANGE:
            return None
        return SERVER_TIME if how is TimeHow.SET_TO_SERVER_TIME else Nfstime3.unpack(unpacker).ns


SetUint32 = Annotated[int | None, Optional(UINT32)]
SetUint64 = Annotated[int | None, Optional(UINT64)]
SetTime = Annotated[int | None, _SetTime()]


# Not frozen: to set six slots of a frozen one takes longer than to decode them. Nobody changes one all the same.
@dataclass(slots=True, unsafe_hash=True)
class Sattr3(Struct):
    """What to change; None leaves it alone. Times are nanoseconds since 1970, or `SERVER_TIME`."""

    mode: SetUint32 = None
    uid: SetUint32 = None
    gid: SetUint32 = None
    size: SetUint64 = None
    atime_ns: SetTime = None
    mtime_ns: SetTime = None


@dataclass(frozen=True, slots=True)
class Diropargs3(Struct):
    dir: NfsFh3
    name: Filename3


# --- section 3.3: arguments -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Void(Struct):
    """No arguments, no results, or no body behind a failing status."""


@dataclass(frozen=True, slots=True)
class Object3Args(Struct):
    """GETATTR, READLINK, FSSTAT, FSINFO and PATHCONF: one handle."""

    object: NfsFh3


@dataclass(frozen=True, slots=True)
class Setattr3Args(Struct):
    object: NfsFh3
    new_attributes: Sattr3
    guard: Annotated[Nfstime3 | None, Optional(Nested(Nfstime3))] = None


@dataclass(frozen=True, slots=True)
class Diropargs3Args(Struct):
    """LOOKUP (`what`), REMOVE and RMDIR (`object`): a directory and a name."""

    what: Diropargs3


@dataclass(frozen=True, slots=True)
class Access3Args(Struct):
    object: NfsFh3
    access: Uint32


@dataclass(frozen=True, slots=True)
class Read3Args(Struct):
    file: NfsFh3
    offset: Uint64
    count: Uint32


@dataclass(frozen=True, slots=True)
class Write3Args(Struct):
    """`count` says again how long `data` is; `args.decode_write` refuses a call in which they differ."""

    file: NfsFh3
    offset: Uint64
    count: Uint32
    stable: StableHow
    data: Data


class _Createhow3:
    """`createhow3`: attributes for UNCHECKED and GUARDED, a verifier for EXCLUSIVE."""

    def pack(self, packer: Packer, value: tuple[Createmode3, Sattr3 | None, bytes | None]) -> None:
        mode, attributes, verf = value
        packer.uint32(mode)
        if mode is Createmode3.EXCLUSIVE:
            packer.opaque_fixed(verf or b"", 8)
        else:
            (attributes or Sattr3()).pack(packer)

    def unpack(self, unpacker: Unpacker) -> tuple[Createmode3, Sattr3 | None, bytes | None]:
        mode = unpacker.enum(Createmode3)
        if mode is Createmode3.EXCLUSIVE:
            return mode, None, unpacker.opaque_fixed(8)
        return mode, Sattr3.unpack(unpacker), None


@dataclass(frozen=True, slots=True)
class Create3Args(Struct):
    where: Diropargs3
    how: Annotated[tuple[Createmode3, Sattr3 | None, bytes | None], _Createhow3()]


@dataclass(frozen=True, slots=True)
class Mkdir3Args(Struct):
    where: Diropargs3
    attributes: Sattr3


@dataclass(frozen=True, slots=True)
class Symlink3Args(Struct):
    where: Diropargs3
    symlink_attributes: Sattr3
    symlink_data: Nfspath3


class _Mknoddata3:
    """`mknoddata3`: device attributes, pipe attributes, or nothing for a type that MKNOD cannot make (which is
    decodable, and answered NFS3ERR_BADTYPE)."""

    def pack(self, packer: Packer, value: tuple[Ftype3, Sattr3 | None, Specdata3 | None]) -> None:
        kind, attributes, spec = value
        packer.uint32(kind)
        if attributes is not None:
            attributes.pack(packer)
        if spec is not None:
            spec.pack(packer)

    def unpack(self, unpacker: Unpacker) -> tuple[Ftype3, Sattr3 | None, Specdata3 | None]:
        kind = unpacker.enum(Ftype3)
        if kind in (Ftype3.NF3CHR, Ftype3.NF3BLK):
            return kind, Sattr3.unpack(unpacker), Specdata3.unpack(unpacker)
        if kind in (Ftype3.NF3SOCK, Ftype3.NF3FIFO):
            return kind, Sattr3.unpack(unpacker), None
        return kind, None, None


@dataclass(frozen=True, slots=True)
class Mknod3Args(Struct):
    where: Diropargs3
    what: Annotated[tuple[Ftype3, Sattr3 | None, Specdata3 | None], _Mknoddata3()]


@dataclass(frozen=True, slots=True)
class Rename3Args(Struct):
    from_: Diropargs3
    to: Diropargs3


@dataclass(frozen=True, slots=True)
class Link3Args(Struct):
    file: NfsFh3
    link: Diropargs3


@dataclass(frozen=True, slots=True)
class Readdir3Args(Struct):
    dir: NfsFh3
    cookie: Uint64
    cookieverf: Verf3
    count: Uint32


@dataclass(frozen=True, slots=True)
class Readdirplus3Args(Struct):
    dir: NfsFh3
    cookie: Uint64
    cookieverf: Verf3
    dircount: Uint32
    maxcount: Uint32


@dataclass(frozen=True, slots=True)
class Commit3Args(Struct):
    file: NfsFh3
    offset: Uint64
    count: Uint32
