"""errno -> nfsstat3, and what a procedure may answer."""

import errno

import pytest

from nfsd.nfs3.const import Nfsstat3, Proc
from nfsd.nfs3.status import ALLOWED, ERRNO_STATUS, RFC_ERRORS, allowed_status, status_of_errno

ANSWERING = sorted(ALLOWED)


@pytest.mark.parametrize(
    ("proc", "number", "name"),
    [
        (Proc.LOOKUP, errno.ENOENT, "NOENT"),
        (Proc.WRITE, errno.ENOSPC, "NOSPC"),
        (Proc.WRITE, errno.EDQUOT, "DQUOT"),
        (Proc.REMOVE, errno.EROFS, "ROFS"),
        (Proc.LINK, errno.EMLINK, "MLINK"),
        (Proc.RENAME, errno.EXDEV, "XDEV"),
        (Proc.RENAME, errno.ENOTEMPTY, "NOTEMPTY"),
        (Proc.GETATTR, errno.ESTALE, "STALE"),
        (Proc.MKNOD, errno.ENOTSUP, "NOTSUPP"),
        (Proc.READ, errno.EMFILE, "JUKEBOX"),
        (Proc.READ, errno.ELOOP, "INVAL"),
        (Proc.READ, errno.EBADF, "SERVERFAULT"),
        (Proc.RMDIR, errno.EBUSY, "ACCES"),
        (Proc.CREATE, errno.ENAMETOOLONG, "NAMETOOLONG"),
        # a program in the container expects these very errnos of unlink(2), open(2) and truncate(2)
        (Proc.REMOVE, errno.EISDIR, "ISDIR"),
        (Proc.REMOVE, errno.EPERM, "PERM"),
        (Proc.CREATE, errno.EISDIR, "ISDIR"),
        (Proc.SETATTR, errno.EFBIG, "FBIG"),
        (Proc.COMMIT, errno.ENOSPC, "NOSPC"),
        # these no list has: the nearest that is listed
        (Proc.GETATTR, errno.ENOENT, "STALE"),
        (Proc.READDIR, errno.EPERM, "ACCES"),
        (Proc.SYMLINK, errno.EMLINK, "NOSPC"),
        (Proc.WRITE, errno.ENOENT, "STALE"),
        (Proc.FSSTAT, errno.EACCES, "IO"),
        # and those nobody knows
        (Proc.READ, 9999, "IO"),
        (Proc.READ, None, "IO"),
    ],
)
def test_an_errno_is_answered_as(proc: Proc, number: int | None, name: str) -> None:
    assert status_of_errno(proc, number) is Nfsstat3[f"NFS3ERR_{name}"]


@pytest.mark.parametrize("proc", ANSWERING, ids=lambda proc: proc.name)
def test_whatever_fails_the_answer_is_an_allowed_failure(proc: Proc) -> None:
    for number in [*ERRNO_STATUS, *errno.errorcode, None]:
        status = status_of_errno(proc, number)
        assert status in ALLOWED[proc]
        assert status is not Nfsstat3.NFS3_OK


@pytest.mark.parametrize("proc", ANSWERING, ids=lambda proc: proc.name)
def test_what_the_rfc_lists_is_never_folded(proc: Proc) -> None:
    for status in RFC_ERRORS[proc]:
        assert allowed_status(proc, status) is status
    assert allowed_status(proc, Nfsstat3.NFS3_OK) is Nfsstat3.NFS3_OK


def test_every_procedure_has_its_list_and_null_has_no_failure() -> None:
    assert set(RFC_ERRORS) == set(Proc)
    assert set(ANSWERING) == set(Proc) - {Proc.NULL}
    always = {Nfsstat3[f"NFS3ERR_{name}"] for name in ("STALE", "BADHANDLE", "SERVERFAULT")}
    assert all(always <= RFC_ERRORS[proc] for proc in ANSWERING)
    without = {proc for proc in ANSWERING if Nfsstat3.NFS3ERR_IO not in RFC_ERRORS[proc]}
    assert without == {Proc.FSINFO, Proc.PATHCONF}
    assert all(Nfsstat3.NFS3ERR_IO in ALLOWED[proc] for proc in ANSWERING)
    assert not RFC_ERRORS[Proc.NULL]
