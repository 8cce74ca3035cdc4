"""The words and structures of MOUNT version 3 (RFC 1813 appendix I), written down as the RFC does.

Cold: a mount is a handful of calls. Used by the server and by tests alike.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from nfsd.limits import (
    EXPORT_GROUPS_MAX,
    EXPORT_LIST_ENTRIES_MAX,
    FH_BYTES_MAX,
    MNTNAME_BYTES_MAX,
    MNTPATH_BYTES_MAX,
    MOUNT_LIST_ENTRIES_MAX,
)
from nfsd.xdr import UINT32, Array, Buffer, Chain, Nested, Opaque, Packer, Struct, Unpacker

MOUNT_PROGRAM = 100005
MOUNT_V3 = 3

MNTPATHLEN = 1024
MNTNAMLEN = 255
FHSIZE3 = 64


class MountProc(IntEnum):
    """Section 5.2: MOUNTPROC3_*."""

    NULL = 0
    MNT = 1
    DUMP = 2
    UMNT = 3
    UMNTALL = 4
    EXPORT = 5


class Mountstat3(IntEnum):
    """Section 5.1.5."""

    MNT3_OK = 0
    MNT3ERR_PERM = 1
    MNT3ERR_NOENT = 2
    MNT3ERR_IO = 5
    MNT3ERR_ACCES = 13
    MNT3ERR_NOTDIR = 20
    MNT3ERR_INVAL = 22
    MNT3ERR_NAMETOOLONG = 63
    MNT3ERR_NOTSUPP = 10004
    MNT3ERR_SERVERFAULT = 10006


Dirpath = Annotated[bytes, Opaque(MNTPATH_BYTES_MAX)]
Name = Annotated[bytes, Opaque(MNTNAME_BYTES_MAX)]
Fhandle3 = Annotated[bytes, Opaque(FH_BYTES_MAX)]

_AUTH_FLAVORS_MAX = 16


@dataclass(frozen=True, slots=True)
class Mountres3Ok(Struct):
    fhandle: Fhandle3
    auth_flavors: Annotated[tuple[int, ...], Array(UINT32, _AUTH_FLAVORS_MAX)]


@dataclass(frozen=True, slots=True)
class Mountres3:
    """`union mountres3`: `mountinfo` is there for MNT3_OK only."""

    fhs_status: Mountstat3
    mountinfo: Mountres3Ok | None = None

    def __bytes__(self) -> bytes:
        packer = Packer()
        packer.uint32(self.fhs_status)
        if self.mountinfo is not None:
            self.mountinfo.pack(packer)
        return bytes(packer)

    @classmethod
    def from_bytes(cls, buf: Buffer) -> "Mountres3":
        unpacker = Unpacker(buf)
        status = unpacker.enum(Mountstat3)
        info = Mountres3Ok.unpack(unpacker) if status is Mountstat3.MNT3_OK else None
        unpacker.done()
        return cls(status, info)


@dataclass(frozen=True, slots=True)
class Mountbody(Struct):
    """One line of DUMP: who mounted what. Advisory, as the RFC says."""

    ml_hostname: Name
    ml_directory: Dirpath


@dataclass(frozen=True, slots=True)
class MountList(Struct):
    """The results of DUMP."""

    mounts: Annotated[tuple[Mountbody, ...], Chain(Nested(Mountbody), MOUNT_LIST_ENTRIES_MAX)]


@dataclass(frozen=True, slots=True)
class Exportnode(Struct):
    ex_dir: Dirpath
    ex_groups: Annotated[tuple[bytes, ...], Chain(Opaque(MNTNAME_BYTES_MAX), EXPORT_GROUPS_MAX)] = ()


@dataclass(frozen=True, slots=True)
class Exports(Struct):
    """The results of EXPORT."""

    exports: Annotated[tuple[Exportnode, ...], Chain(Nested(Exportnode), EXPORT_LIST_ENTRIES_MAX)]


def decode_dirpath(buf: Buffer, offset: int, end: int) -> bytes:
    """The arguments of MNT and UMNT. Raises `XdrError`; bytes behind the path are ignored, as in `nfs3.args`."""
    return Unpacker(buf, offset, end).opaque(MNTPATH_BYTES_MAX)
