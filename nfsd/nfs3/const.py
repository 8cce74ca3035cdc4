"""The words and numbers of NFSv3 (RFC 1813 sections 2 and 3), verbatim.

Enum members are ints; hot code uses the plain constants or `int`. `Nfsstat3` is at home in `nfsd.errors`.
"""

from enum import IntEnum

from nfsd.errors import Nfsstat3 as Nfsstat3

NFS_PROGRAM = 100003
NFS_V3 = 3

NFS3_FHSIZE = 64
NFS3_COOKIEVERFSIZE = 8
NFS3_CREATEVERFSIZE = 8
NFS3_WRITEVERFSIZE = 8


class Proc(IntEnum):
    """Section 3: the 22 procedures, NFSPROC3_*."""

    NULL = 0
    GETATTR = 1
    SETATTR = 2
    LOOKUP = 3
    ACCESS = 4
    READLINK = 5
    READ = 6
    WRITE = 7
    CREATE = 8
    MKDIR = 9
    SYMLINK = 10
    MKNOD = 11
    REMOVE = 12
    RMDIR = 13
    RENAME = 14
    LINK = 15
    READDIR = 16
    READDIRPLUS = 17
    FSSTAT = 18
    FSINFO = 19
    PATHCONF = 20
    COMMIT = 21


class Ftype3(IntEnum):
    """Section 2.5. The types a file can have."""

    NF3REG = 1
    NF3DIR = 2
    NF3BLK = 3
    NF3CHR = 4
    NF3LNK = 5
    NF3SOCK = 6
    NF3FIFO = 7


class Createmode3(IntEnum):
    """Section 3.3.8: how CREATE treats a name that exists."""

    UNCHECKED = 0
    GUARDED = 1
    EXCLUSIVE = 2


class StableHow(IntEnum):
    """Section 3.3.7, `stable_how`: what WRITE must have made durable before it answers."""

    UNSTABLE = 0
    DATA_SYNC = 1
    FILE_SYNC = 2


class TimeHow(IntEnum):
    """Section 2.5 (sattr3), `time_how`: what SETATTR does with a time."""

    DONT_CHANGE = 0
    SET_TO_SERVER_TIME = 1
    SET_TO_CLIENT_TIME = 2


# Section 3.3.4: the questions and answers of ACCESS.
ACCESS3_READ = 0x0001
ACCESS3_LOOKUP = 0x0002
ACCESS3_MODIFY = 0x0004
ACCESS3_EXTEND = 0x0008
ACCESS3_DELETE = 0x0010
ACCESS3_EXECUTE = 0x0020
ACCESS3_ALL = 0x003F

# Section 3.3.19, FSINFO properties.
FSF3_LINK = 0x0001
FSF3_SYMLINK = 0x0002
FSF3_HOMOGENEOUS = 0x0008
FSF3_CANSETTIME = 0x0010
