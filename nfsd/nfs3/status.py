"""errno -> nfsstat3, in one table, and which statuses a procedure may answer (RFC 1813 sections 2.6 and 3.3).

The rule: an `OSError` becomes a status here and nowhere else. Section 3.3 calls its ERRORS lists a guide to the common
errors, not the definitive set; clients hand any status to the program as an errno. So a status stays as it is when the
RFC lists it, or when POSIX wants just that errno of the system call behind the procedure (`_POSIX`); the rest is folded
to the nearest one that is listed, and to NFS3ERR_IO when none is near.
"""

import errno

from nfsd.nfs3.const import Nfsstat3, Proc

_S = Nfsstat3

ERRNO_STATUS: dict[int, Nfsstat3] = {
    errno.EPERM: _S.NFS3ERR_PERM,
    errno.ENOENT: _S.NFS3ERR_NOENT,
    errno.EIO: _S.NFS3ERR_IO,
    errno.ENXIO: _S.NFS3ERR_NXIO,
    errno.EACCES: _S.NFS3ERR_ACCES,
    errno.EEXIST: _S.NFS3ERR_EXIST,
    errno.EXDEV: _S.NFS3ERR_XDEV,
    errno.ENODEV: _S.NFS3ERR_NODEV,
    errno.ENOTDIR: _S.NFS3ERR_NOTDIR,
    errno.EISDIR: _S.NFS3ERR_ISDIR,
    errno.EINVAL: _S.NFS3ERR_INVAL,
    errno.EFBIG: _S.NFS3ERR_FBIG,
    errno.ENOSPC: _S.NFS3ERR_NOSPC,
    errno.EROFS: _S.NFS3ERR_ROFS,
    errno.EMLINK: _S.NFS3ERR_MLINK,
    errno.ENAMETOOLONG: _S.NFS3ERR_NAMETOOLONG,
    errno.ENOTEMPTY: _S.NFS3ERR_NOTEMPTY,
    errno.EDQUOT: _S.NFS3ERR_DQUOT,
    errno.ESTALE: _S.NFS3ERR_STALE,
    errno.EREMOTE: _S.NFS3ERR_REMOTE,
    errno.ENOTSUP: _S.NFS3ERR_NOTSUPP,
    errno.ENOSYS: _S.NFS3ERR_NOTSUPP,
    # No file of the client's is behind these: the host is short of something, and trying again may well work.
    errno.EMFILE: _S.NFS3ERR_JUKEBOX,
    errno.ENFILE: _S.NFS3ERR_JUKEBOX,
    errno.ENOMEM: _S.NFS3ERR_JUKEBOX,
    errno.EAGAIN: _S.NFS3ERR_JUKEBOX,
    errno.EINTR: _S.NFS3ERR_JUKEBOX,
    errno.ETIMEDOUT: _S.NFS3ERR_JUKEBOX,
    # O_NOFOLLOW met a symbolic link where a file was wanted: not a kind of object this operation takes.
    errno.ELOOP: _S.NFS3ERR_INVAL,
    errno.EILSEQ: _S.NFS3ERR_INVAL,
    errno.EOVERFLOW: _S.NFS3ERR_INVAL,
    errno.ETXTBSY: _S.NFS3ERR_ACCES,
    # A mount point of the host's: not JUKEBOX, since a client tries that again for ever. Linux nfsd says ACCES too.
    errno.EBUSY: _S.NFS3ERR_ACCES,
    # A descriptor of ours was closed too early: our own mistake, nothing the client could have done.
    errno.EBADF: _S.NFS3ERR_SERVERFAULT,
}

_ALWAYS = (_S.NFS3ERR_IO, _S.NFS3ERR_STALE, _S.NFS3ERR_BADHANDLE, _S.NFS3ERR_SERVERFAULT)


def _listed(*names: str) -> frozenset[Nfsstat3]:
    return frozenset((*_ALWAYS, *(Nfsstat3[f"NFS3ERR_{name}"] for name in names)))


_MAKE = ("ACCES", "EXIST", "NOTDIR", "NOSPC", "ROFS", "NAMETOOLONG", "DQUOT", "NOTSUPP")

RFC_ERRORS: dict[Proc, frozenset[Nfsstat3]] = {
    Proc.NULL: frozenset(),
    Proc.GETATTR: _listed(),
    Proc.SETATTR: _listed("PERM", "ACCES", "INVAL", "NOSPC", "ROFS", "DQUOT", "NOT_SYNC"),
    Proc.LOOKUP: _listed("NOENT", "ACCES", "NOTDIR", "NAMETOOLONG"),
    Proc.ACCESS: _listed(),
    Proc.READLINK: _listed("INVAL", "ACCES", "NOTSUPP"),
    Proc.READ: _listed("NXIO", "ACCES", "INVAL"),
    Proc.WRITE: _listed("ACCES", "FBIG", "DQUOT", "NOSPC", "ROFS", "INVAL"),
    Proc.CREATE: _listed(*_MAKE),
    Proc.MKDIR: _listed(*_MAKE),
    Proc.SYMLINK: _listed(*_MAKE),
    Proc.MKNOD: _listed(*_MAKE, "BADTYPE"),
    Proc.REMOVE: _listed("NOENT", "ACCES", "NOTDIR", "NAMETOOLONG", "ROFS"),
    Proc.RMDIR: _listed(
        "NOENT", "ACCES", "INVAL", "EXIST", "NOTDIR", "NAMETOOLONG", "ROFS", "NOTEMPTY", "NOTSUPP"
    ),
    Proc.RENAME: _listed(
        "NOENT", "ACCES", "EXIST", "XDEV", "NOTDIR", "ISDIR", "INVAL", "NOSPC", "ROFS", "MLINK", "NAMETOOLONG",
        "NOTEMPTY", "DQUOT", "NOTSUPP",
    ),
    Proc.LINK: _listed(
        "ACCES", "EXIST", "XDEV", "NOTDIR", "INVAL", "NOSPC", "ROFS", "MLINK", "NAMETOOLONG", "DQUOT", "NOTSUPP"
    ),
    Proc.READDIR: _listed("ACCES", "NOTDIR", "BAD_COOKIE", "TOOSMALL"),
    Proc.READDIRPLUS: _listed("ACCES", "NOTDIR", "BAD_COOKIE", "TOOSMALL", "NOTSUPP"),
    Proc.FSSTAT: _listed(),
    Proc.FSINFO: _listed() - {_S.NFS3ERR_IO},
    Proc.PATHCONF: _listed() - {_S.NFS3ERR_IO},
    Proc.COMMIT: _listed(),
}  # fmt: skip
"""Section 3.3, the ERRORS lists, verbatim."""


def _statuses(*names: str) -> frozenset[Nfsstat3]:
    return frozenset(Nfsstat3[f"NFS3ERR_{name}"] for name in names)


# What POSIX.1-2017 wants of the system call and the lists leave out; Linux nfsd sends all of these.
_POSIX: dict[Proc, frozenset[Nfsstat3]] = {
    # truncate: EISDIR and EFBIG. NOTSUPP: chmod of a symbolic link (EOPNOTSUPP).
    Proc.SETATTR: _statuses("ISDIR", "FBIG", "NOTSUPP"),
    # read of a directory
    Proc.READ: _statuses("ISDIR"),
    # EPERM: an append-only or immutable file
    Proc.WRITE: _statuses("PERM", "ISDIR", "NXIO"),
    # open of a directory for writing; EPERM: an immutable directory; EINVAL: a name the file system refuses
    Proc.CREATE: _statuses("PERM", "ISDIR", "INVAL", "NOENT"),
    Proc.MKDIR: _statuses("PERM", "INVAL", "MLINK", "NOENT"),
    Proc.SYMLINK: _statuses("PERM", "INVAL", "NOENT"),
    # mknod of a device by an ordinary user
    Proc.MKNOD: _statuses("PERM", "INVAL", "NOENT"),
    # unlink of a directory; in a sticky directory
    Proc.REMOVE: _statuses("PERM", "ISDIR", "INVAL"),
    Proc.RMDIR: _statuses("PERM"),
    Proc.RENAME: _statuses("PERM"),
    # link of a directory
    Proc.LINK: _statuses("PERM", "ISDIR", "NOENT"),
    # A failing disk fails these, too
    Proc.FSINFO: _statuses("IO"),
    Proc.PATHCONF: _statuses("IO"),
    # fsync finds out that the disk is full
    Proc.COMMIT: _statuses("NOSPC", "DQUOT"),
}

# "Try again later" makes sense of any procedure but NULL (section 2.6); a refused policy or name of any with an object.
_ANYWHERE = _statuses("JUKEBOX")

ALLOWED: dict[Proc, frozenset[Nfsstat3]] = {
    proc: RFC_ERRORS[proc] | _POSIX.get(proc, frozenset()) | _ANYWHERE for proc in Proc if proc is not Proc.NULL
}

# Nearest first. What is not here, or finds none of its list allowed, is NFS3ERR_IO.
_NEAREST: dict[Nfsstat3, tuple[Nfsstat3, ...]] = {
    _S.NFS3ERR_PERM: (_S.NFS3ERR_ACCES, _S.NFS3ERR_ROFS),
    _S.NFS3ERR_ACCES: (_S.NFS3ERR_PERM,),
    _S.NFS3ERR_ROFS: (_S.NFS3ERR_ACCES,),
    _S.NFS3ERR_NOENT: (_S.NFS3ERR_STALE,),
    _S.NFS3ERR_NODEV: (_S.NFS3ERR_NXIO,),
    _S.NFS3ERR_NXIO: (_S.NFS3ERR_INVAL,),
    _S.NFS3ERR_ISDIR: (_S.NFS3ERR_INVAL, _S.NFS3ERR_EXIST, _S.NFS3ERR_ACCES),
    _S.NFS3ERR_NOTDIR: (_S.NFS3ERR_INVAL,),
    _S.NFS3ERR_INVAL: (_S.NFS3ERR_NOTDIR, _S.NFS3ERR_ACCES),
    _S.NFS3ERR_FBIG: (_S.NFS3ERR_NOSPC, _S.NFS3ERR_INVAL),
    _S.NFS3ERR_NOSPC: (_S.NFS3ERR_DQUOT,),
    _S.NFS3ERR_DQUOT: (_S.NFS3ERR_NOSPC,),
    _S.NFS3ERR_MLINK: (_S.NFS3ERR_NOSPC,),
    _S.NFS3ERR_NAMETOOLONG: (_S.NFS3ERR_INVAL,),
    _S.NFS3ERR_NOTEMPTY: (_S.NFS3ERR_EXIST,),
    _S.NFS3ERR_EXIST: (_S.NFS3ERR_NOTEMPTY,),
    _S.NFS3ERR_BADTYPE: (_S.NFS3ERR_NOTSUPP, _S.NFS3ERR_INVAL),
    _S.NFS3ERR_NOTSUPP: (_S.NFS3ERR_INVAL, _S.NFS3ERR_ACCES, _S.NFS3ERR_SERVERFAULT),
    _S.NFS3ERR_REMOTE: (_S.NFS3ERR_XDEV, _S.NFS3ERR_ACCES),
    _S.NFS3ERR_XDEV: (_S.NFS3ERR_ACCES,),
}


def allowed_status(proc: int, status: Nfsstat3) -> Nfsstat3:
    """The status itself, or the nearest one this procedure may answer. For every procedure but NULL."""
    allowed = ALLOWED[Proc(proc)]
    if status in allowed or status is Nfsstat3.NFS3_OK:
        return status
    for nearest in _NEAREST.get(status, ()):
        if nearest in allowed:
            return nearest
    return Nfsstat3.NFS3ERR_IO


def status_of_errno(proc: int, number: int | None) -> Nfsstat3:
    """What to answer when the file system failed with this errno; None (an OSError without one) is NFS3ERR_IO."""
    return allowed_status(proc, ERRNO_STATUS.get(number or 0, Nfsstat3.NFS3ERR_IO))
