"""What a file name from a client may be (RFC 1813 section 3.2, the general comments on filenames).

"" and names with a slash or NUL are NFS3ERR_ACCES, as the comments say (Linux nfsd calls them garbage, which ends in
EIO). "." and ".." are answered by LOOKUP alone. Elsewhere they are what the procedure's own section wants: they exist
(CREATE, MKDIR, SYMLINK, MKNOD, LINK: NFS3ERR_EXIST), they are no valid argument (RENAME, and RMDIR of ".":
NFS3ERR_INVAL), they cannot be removed (REMOVE: NFS3ERR_ACCES; RMDIR of "..": NFS3ERR_EXIST).
"""

from __future__ import annotations

from nfsd.errors import Nfs3Error
from nfsd.limits import NAME_BYTES_MAX
from nfsd.nfs3.const import Nfsstat3

DOTS = (b".", b"..")


def check_name(name: bytes) -> None:
    """Nfs3Error (NFS3ERR_ACCES, NFS3ERR_NAMETOOLONG) unless it is one path component; the dots are."""
    if not name or b"/" in name or b"\0" in name:
        raise Nfs3Error(Nfsstat3.NFS3ERR_ACCES, "a name that is empty or has a slash or NUL in it")
    if len(name) > NAME_BYTES_MAX:
        raise Nfs3Error(Nfsstat3.NFS3ERR_NAMETOOLONG, f"a name of {len(name)} bytes; {NAME_BYTES_MAX} are allowed")


def check_entry_name(name: bytes, dots: Nfsstat3 = Nfsstat3.NFS3ERR_EXIST) -> None:
    """The same for a name that will be made or removed: `dots` is the answer for "." and ".."."""
    check_name(name)
    if name in DOTS:
        raise Nfs3Error(dots, "the directory's own . or ..")
