"""The structures against vectors made by hand from RFC 1813, and against themselves."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nfsd.errors import XdrError
from nfsd.nfs3 import restypes as r
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Createmode3, Ftype3, Nfsstat3, Proc, StableHow
from nfsd.xdr import Struct
from tests.nfsd.nfs3.strategies import structs

HANDLE = b"handle"
FH = "00000006 68616e646c65 0000"
SATTR = t.Sattr3(mode=0o644, size=5, atime_ns=t.SERVER_TIME, mtime_ns=7 * t.NS + 9)
SATTR_WORDS = (
    "00000001 000001a4"  # set_mode3
    "00000000 00000000"  # set_uid3, set_gid3
    "00000001 00000000 00000005"  # set_size3
    "00000001"  # set_atime: SET_TO_SERVER_TIME
    "00000002 00000007 00000009"  # set_mtime: SET_TO_CLIENT_TIME
)
WHERE = t.Diropargs3(HANDLE, b"name")
WHERE_WORDS = FH + "00000004 6e616d65"

ARGUMENTS: list[tuple[Proc, Struct, str]] = [
    (Proc.GETATTR, t.Object3Args(HANDLE), FH),
    (Proc.SETATTR, t.Setattr3Args(HANDLE, SATTR), FH + SATTR_WORDS + "00000000"),
    (
        Proc.SETATTR,
        t.Setattr3Args(HANDLE, SATTR, t.Nfstime3(3, 4)),
        FH + SATTR_WORDS + "00000001 00000003 00000004",
    ),
    (Proc.LOOKUP, t.Diropargs3Args(WHERE), WHERE_WORDS),
    (Proc.ACCESS, t.Access3Args(HANDLE, 0x1F), FH + "0000001f"),
    (Proc.READ, t.Read3Args(HANDLE, 2**40, 8), FH + "00000100 00000000 00000008"),
    (
        Proc.WRITE,
        t.Write3Args(HANDLE, 1, 3, StableHow.FILE_SYNC, b"abc"),
        FH + "00000000 00000001 00000003 00000002 00000003 61626300",
    ),
    (
        Proc.CREATE,
        t.Create3Args(WHERE, (Createmode3.GUARDED, SATTR, None)),
        WHERE_WORDS + "00000001" + SATTR_WORDS,
    ),
    (
        Proc.CREATE,
        t.Create3Args(WHERE, (Createmode3.EXCLUSIVE, None, b"verifier")),
        WHERE_WORDS + "00000002 7665726966696572",
    ),
    (Proc.MKDIR, t.Mkdir3Args(WHERE, SATTR), WHERE_WORDS + SATTR_WORDS),
    (
        Proc.SYMLINK,
        t.Symlink3Args(WHERE, SATTR, b"/to"),
        WHERE_WORDS + SATTR_WORDS + "00000003 2f746f00",
    ),
    (
        Proc.MKNOD,
        t.Mknod3Args(WHERE, (Ftype3.NF3CHR, SATTR, t.Specdata3(1, 3))),
        WHERE_WORDS + "00000004" + SATTR_WORDS + "00000001 00000003",
    ),
    (Proc.MKNOD, t.Mknod3Args(WHERE, (Ftype3.NF3FIFO, SATTR, None)), WHERE_WORDS + "00000007" + SATTR_WORDS),
    (Proc.RENAME, t.Rename3Args(WHERE, WHERE), WHERE_WORDS + WHERE_WORDS),
    (Proc.LINK, t.Link3Args(HANDLE, WHERE), FH + WHERE_WORDS),
    (
        Proc.READDIR,
        t.Readdir3Args(HANDLE, 2, b"verifier", 512),
        FH + "00000000 00000002 7665726966696572 00000200",
    ),
    (
        Proc.READDIRPLUS,
        t.Readdirplus3Args(HANDLE, 2, b"verifier", 512, 1024),
        FH + "00000000 00000002 7665726966696572 00000200 00000400",
    ),
    (Proc.COMMIT, t.Commit3Args(HANDLE, 0, 0), FH + "00000000 00000000 00000000"),
]

FATTR = t.Fattr3(
    Ftype3.NF3REG, 0o644, 1, 1000, 100, 5, 4096, t.Specdata3(), 7, 8,
    t.Nfstime3(1, 2), t.Nfstime3(3, 4), t.Nfstime3(5, 6),
)  # fmt: skip
FATTR_WORDS = (
    "00000001 000001a4 00000001 000003e8 00000064"  # type mode nlink uid gid
    "00000000 00000005 00000000 00001000"  # size used
    "00000000 00000000"  # rdev
    "00000000 00000007 00000000 00000008"  # fsid fileid
    "00000001 00000002 00000003 00000004 00000005 00000006"  # atime mtime ctime
)
WCC = t.WccData(t.WccAttr(5, t.Nfstime3(3, 4), t.Nfstime3(5, 6)), FATTR)
WCC_WORDS = "00000001 00000000 00000005 00000003 00000004 00000005 00000006 00000001" + FATTR_WORDS
OK = Nfsstat3.NFS3_OK

RESULTS: list[tuple[Proc, Nfsstat3, Struct, str]] = [
    (Proc.GETATTR, OK, r.Getattr3Ok(FATTR), "00000000" + FATTR_WORDS),
    (Proc.GETATTR, Nfsstat3.NFS3ERR_STALE, t.Void(), "00000046"),
    (Proc.SETATTR, OK, r.Wcc3(WCC), "00000000" + WCC_WORDS),
    (Proc.SETATTR, Nfsstat3.NFS3ERR_NOT_SYNC, r.Wcc3(WCC), "00002712" + WCC_WORDS),
    (
        Proc.LOOKUP,
        OK,
        r.Lookup3Ok(HANDLE, FATTR, None),
        "00000000" + FH + "00000001" + FATTR_WORDS + "00000000",
    ),
    (Proc.LOOKUP, Nfsstat3.NFS3ERR_NOENT, r.PostOp3(FATTR), "00000002 00000001" + FATTR_WORDS),
    (Proc.READ, OK, r.Read3Ok(None, 3, True, b"abc"), "00000000 00000000 00000003 00000001 00000003 61626300"),
    (
        Proc.WRITE,
        OK,
        r.Write3Ok(WCC, 3, StableHow.DATA_SYNC, b"verifier"),
        "00000000" + WCC_WORDS + "00000003 00000001 7665726966696572",
    ),
    (
        Proc.CREATE,
        OK,
        r.Create3Ok(HANDLE, FATTR, t.WccData()),
        "00000000 00000001" + FH + "00000001" + FATTR_WORDS + "00000000 00000000",
    ),
    (Proc.RENAME, Nfsstat3.NFS3ERR_XDEV, r.Rename3Res(), "00000012" + "00000000" * 4),
    (Proc.LINK, Nfsstat3.NFS3ERR_MLINK, r.Link3Res(), "0000001f" + "00000000" * 3),
    (
        Proc.READDIR,
        OK,
        r.Readdir3Ok(None, b"verifier", (r.Entry3(9, b"ab", 4),), True),
        "00000000 00000000 7665726966696572"
        "00000001 00000000 00000009 00000002 61620000 00000000 00000004 00000000 00000001",
    ),
    (
        Proc.READDIRPLUS,
        OK,
        r.Readdirplus3Ok(None, b"verifier", (r.Entryplus3(9, b"ab", 4, None, HANDLE),), False),
        "00000000 00000000 7665726966696572"
        "00000001 00000000 00000009 00000002 61620000 00000000 00000004 00000000 00000001" + FH + "00000000 00000000",
    ),
    (
        Proc.FSINFO,
        OK,
        r.Fsinfo3Ok(None, 1, 2, 3, 4, 5, 6, 7, 8, t.Nfstime3(0, 1), 0x1B),
        "00000000 00000000 00000001 00000002 00000003 00000004 00000005 00000006 00000007"
        "00000000 00000008 00000000 00000001 0000001b",
    ),
    (
        Proc.PATHCONF,
        OK,
        r.Pathconf3Ok(None, 32000, 255, True, True, False, True),
        "00000000 00000000 00007d00 000000ff 00000001 00000001 00000000 00000001",
    ),
    (Proc.COMMIT, OK, r.Commit3Ok(t.WccData(), b"verifier"), "00000000 00000000 00000000 7665726966696572"),
]


@pytest.mark.parametrize(("proc", "value", "words"), ARGUMENTS, ids=lambda value: getattr(value, "name", ""))
def test_arguments_are_the_words_of_the_rfc(proc: Proc, value: Struct, words: str) -> None:
    assert bytes(value) == bytes.fromhex(words)
    assert r.SIGNATURES[proc].arguments.from_bytes(bytes.fromhex(words)) == value


@pytest.mark.parametrize(("proc", "status", "value", "words"), RESULTS, ids=lambda value: getattr(value, "name", ""))
def test_results_are_the_words_of_the_rfc(proc: Proc, status: Nfsstat3, value: Struct, words: str) -> None:
    assert r.pack_result(status, value) == bytes.fromhex(words)
    assert r.unpack_result(proc, bytes.fromhex(words)) == (status, value)


def test_every_procedure_but_null_has_a_signature() -> None:
    assert set(r.SIGNATURES) == set(Proc) - {Proc.NULL}


@given(some.data())
def test_every_structure_survives_the_wire(data: some.DataObject) -> None:
    signature = r.SIGNATURES[data.draw(some.sampled_from(sorted(r.SIGNATURES)))]
    kind: Any = data.draw(some.sampled_from(signature))
    value = data.draw(structs(kind))
    assert kind.from_bytes(bytes(value)) == value


@given(some.sampled_from(sorted(r.SIGNATURES)), some.binary(max_size=200))
def test_any_bytes_are_a_result_or_an_xdr_error(proc: Proc, data: bytes) -> None:
    try:
        r.unpack_result(proc, data)
    except XdrError:
        pass


def test_a_handle_over_64_bytes_is_undecodable_and_a_name_over_255_is_not() -> None:
    with pytest.raises(XdrError, match="at most 64 bytes, found 65"):
        t.Object3Args.from_bytes(bytes(t.Object3Args(bytes(65))))
    long = t.Diropargs3(HANDLE, bytes(5000))
    assert t.Diropargs3.from_bytes(bytes(long)) == long
