"""The hot encoders write what the structures of the specification write."""

import os
import stat
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nfsd.nfs3 import dirlist, results
from nfsd.nfs3 import restypes as r
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Ftype3, Nfsstat3, Proc
from nfsd.xdr import PADDING
from tests.nfsd.nfs3.strategies import structs, uint32s, uint64s

OK = Nfsstat3.NFS3_OK

KINDS = {
    stat.S_IFREG: Ftype3.NF3REG,
    stat.S_IFDIR: Ftype3.NF3DIR,
    stat.S_IFBLK: Ftype3.NF3BLK,
    stat.S_IFCHR: Ftype3.NF3CHR,
    stat.S_IFLNK: Ftype3.NF3LNK,
    stat.S_IFSOCK: Ftype3.NF3SOCK,
    stat.S_IFIFO: Ftype3.NF3FIFO,
}


class St(NamedTuple):
    """A file's attributes; its owner is not among them, since it must not be looked at."""

    st_mode: int
    st_ino: int
    st_nlink: int
    st_size: int
    st_blocks: int
    st_rdev: int
    st_atime_ns: int
    st_mtime_ns: int
    st_ctime_ns: int


times = some.integers(-(2**40) * t.NS, 2**40 * t.NS)
stats = some.builds(
    St,
    some.builds(int.__or__, some.sampled_from(sorted(KINDS)), some.integers(0, 0o7777)),
    uint64s,
    uint32s,
    some.integers(0, 2**63 - 1),
    some.integers(0, 2**54),
    some.builds(os.makedev, some.integers(0, 2**31 - 1), some.integers(0, 2**31 - 1)),
    times,
    times,
    times,
)
owners = some.tuples(uint32s, uint32s, uint64s)
verfs = some.binary(min_size=8, max_size=8)
handles = some.binary(max_size=64)


def time3(ns: int) -> t.Nfstime3:
    """The nearest time the wire can carry."""
    if ns < 0:
        return t.Nfstime3(0, 0)
    if ns >= 2**32 * t.NS:
        return t.Nfstime3(2**32 - 1, t.NS - 1)
    return t.Nfstime3(*divmod(ns, t.NS))


def fattr3(st: St, uid: int, gid: int, fsid: int) -> t.Fattr3:
    kind = KINDS[stat.S_IFMT(st.st_mode)]
    device = kind in (Ftype3.NF3BLK, Ftype3.NF3CHR)
    return t.Fattr3(
        kind,
        stat.S_IMODE(st.st_mode),
        st.st_nlink,
        uid,
        gid,
        st.st_size,
        st.st_blocks * 512,
        t.Specdata3(os.major(st.st_rdev), os.minor(st.st_rdev)) if device else t.Specdata3(),
        fsid,
        st.st_ino,
        time3(st.st_atime_ns),
        time3(st.st_mtime_ns),
        time3(st.st_ctime_ns),
    )


def wcc_attr(st: St) -> t.WccAttr:
    return t.WccAttr(st.st_size, time3(st.st_mtime_ns), time3(st.st_ctime_ns))


def bytes_of(value: Any) -> bytes:
    """A post_op_attr or wcc_data alone."""
    return bytes(value if isinstance(value, t.WccData) else r.PostOp3(value))


@given(stats, owners)
def test_attributes_are_those_of_the_file_with_the_owner_that_is_shown(st: St, owner: tuple[int, int, int]) -> None:
    expected = fattr3(st, *owner)
    assert results.pack_fattr(st, *owner) == bytes(expected)
    assert results.encode_getattr(st, *owner) == r.pack_result(OK, r.Getattr3Ok(expected))
    assert results.pack_post_op_attr(st, *owner) == bytes_of(expected)


@given(some.none() | stats, some.none() | stats, owners)
def test_wcc_data_has_what_is_known(before: St | None, after: St | None, owner: tuple[int, int, int]) -> None:
    expected = t.WccData(before and wcc_attr(before), after and fattr3(after, *owner))
    assert results.pack_wcc(before, after, *owner) == bytes(expected)


def test_the_kernels_own_stat_result_will_do() -> None:
    for path in ("/", __file__, "/dev/null"):
        st = os.stat(path)
        fattr = t.Fattr3.from_bytes(results.pack_fattr(st, 1000, 100, 7))
        assert (fattr.fileid, fattr.size, fattr.mode) == (st.st_ino, st.st_size, stat.S_IMODE(st.st_mode))
        assert (fattr.uid, fattr.gid, fattr.fsid, fattr.mtime.ns) == (1000, 100, 7, st.st_mtime_ns)
    assert fattr.rdev == t.Specdata3(1, 3)


def test_nothing_is_left_out_by_none() -> None:
    assert results.pack_post_op_attr(None, 0, 0, 0) == results.NO_ATTR == bytes_of(None)
    assert results.pack_wcc(None, None, 0, 0, 0) == results.NO_WCC == bytes(t.WccData())


def encode(value: Any) -> bytes:
    """The hot encoding of a resok of the specification."""
    match value:
        case r.Wcc3(wcc):
            return results.encode_wcc(bytes(wcc))
        case r.Lookup3Ok(object, attr, dir_attr):
            return results.encode_lookup(object, bytes_of(attr), bytes_of(dir_attr))
        case r.Access3Ok(attr, access):
            return results.encode_access(bytes_of(attr), access)
        case r.Readlink3Ok(attr, data):
            return results.encode_readlink(bytes_of(attr), data)
        case r.Read3Ok(attr, _, eof, data):
            head = results.encode_read_head(bytes_of(attr), len(data), eof)
            return head + data + PADDING[len(data) & 3]
        case r.Write3Ok(wcc, count, committed, verf):
            return results.encode_write(bytes(wcc), count, committed, verf)
        case r.Create3Ok(obj, attr, wcc):
            return results.encode_create(obj, bytes_of(attr), bytes(wcc))
        case r.Rename3Res(from_wcc, to_wcc):
            return results.encode_rename(bytes(from_wcc), bytes(to_wcc))
        case r.Link3Res(attr, wcc):
            return results.encode_link(bytes_of(attr), bytes(wcc))
        case r.Commit3Ok(wcc, verf):
            return results.encode_commit(bytes(wcc), verf)
    raise TypeError(value)


@given(
    some.sampled_from(
        [
            r.Wcc3, r.Lookup3Ok, r.Access3Ok, r.Readlink3Ok, r.Read3Ok, r.Write3Ok, r.Create3Ok, r.Rename3Res,
            r.Link3Res, r.Commit3Ok,
        ]
    ),
    some.data(),
)  # fmt: skip
def test_a_whole_result_is_the_one_of_the_specification(kind: Any, data: some.DataObject) -> None:
    value = data.draw(structs(kind))
    if isinstance(value, r.Read3Ok):
        value = replace(value, count=len(value.data))
    assert encode(value) == r.pack_result(OK, value)


@given(structs(r.Fsstat3Ok), structs(r.Fsinfo3Ok), structs(r.Pathconf3Ok))
def test_file_system_information_is_the_one_of_the_specification(
    fsstat: r.Fsstat3Ok, fsinfo: r.Fsinfo3Ok, pathconf: r.Pathconf3Ok
) -> None:
    words = {name: getattr(fsstat, name) for name in fsstat.__slots__[1:]}
    assert results.encode_fsstat(bytes_of(fsstat.obj_attributes), **words) == r.pack_result(OK, fsstat)
    delta = replace(fsinfo, time_delta=t.Nfstime3(0, 1))
    words = {name: getattr(delta, name) for name in delta.__slots__[1:] if name != "time_delta"}
    attr = bytes_of(fsinfo.obj_attributes)
    assert results.encode_fsinfo(attr, time_delta_ns=1, **words) == r.pack_result(OK, delta)
    words = {name: getattr(pathconf, name) for name in pathconf.__slots__[1:]}
    assert results.encode_pathconf(bytes_of(pathconf.obj_attributes), **words) == r.pack_result(OK, pathconf)


names = some.binary(max_size=255)
entries = some.builds(r.Entry3, uint64s, names, uint64s)
entriesplus = some.builds(r.Entryplus3, uint64s, names, uint64s, structs(r.PostOp3).map(lambda p: p.attributes),
                          some.none() | handles)  # fmt: skip


@given(structs(r.PostOp3), verfs, some.lists(entries, max_size=5), some.booleans())
def test_readdir_is_the_one_of_the_specification(
    attr: r.PostOp3, verf: bytes, listed: list[r.Entry3], eof: bool
) -> None:
    encoded = [dirlist.encode_entry(e.fileid, e.name, e.cookie) for e in listed]
    whole = dirlist.encode_readdir(bytes(attr), verf, encoded, eof)
    assert whole == r.pack_result(OK, r.Readdir3Ok(attr.attributes, verf, tuple(listed), eof))
    assert len(whole) == 4 + dirlist.RESOK_BYTES + len(bytes(attr)) + sum(map(len, encoded))


@given(structs(r.PostOp3), verfs, some.lists(entriesplus, max_size=5), some.booleans())
def test_readdirplus_is_the_one_of_the_specification(
    attr: r.PostOp3, verf: bytes, listed: list[r.Entryplus3], eof: bool
) -> None:
    encoded = [
        dirlist.encode_entryplus(e.fileid, e.name, e.cookie, bytes_of(e.name_attributes), e.name_handle) for e in listed
    ]
    whole = dirlist.encode_readdirplus(bytes(attr), verf, encoded, eof)
    assert whole == r.pack_result(OK, r.Readdirplus3Ok(attr.attributes, verf, tuple(listed), eof))


@given(entries)
def test_dircount_counts_fileid_name_and_cookie(entry: r.Entry3) -> None:
    assert dirlist.entry_dircount(len(entry.name)) == len(bytes(entry))


FAILURES = {
    results.encode_error: [Proc.GETATTR],
    results.encode_error_attr: [
        Proc.LOOKUP, Proc.ACCESS, Proc.READLINK, Proc.READ, Proc.READDIR, Proc.READDIRPLUS, Proc.FSSTAT, Proc.FSINFO,
        Proc.PATHCONF,
    ],
    results.encode_error_wcc: [
        Proc.SETATTR, Proc.WRITE, Proc.CREATE, Proc.MKDIR, Proc.SYMLINK, Proc.MKNOD, Proc.REMOVE, Proc.RMDIR,
        Proc.COMMIT,
    ],
    results.encode_error_rename: [Proc.RENAME],
    results.encode_error_link: [Proc.LINK],
}  # fmt: skip


def test_every_failure_has_its_procedures_shape() -> None:
    covered = set()
    for encode_failure, procs in FAILURES.items():
        for proc in procs:
            covered.add(proc)
            found = encode_failure(Nfsstat3.NFS3ERR_STALE)
            assert found == results.encode_failure(proc, Nfsstat3.NFS3ERR_STALE)
            assert r.unpack_result(proc, found) == (Nfsstat3.NFS3ERR_STALE, r.SIGNATURES[proc].resfail())
    assert covered == set(r.SIGNATURES)


@given(structs(r.PostOp3), structs(t.WccData), structs(t.WccData))
def test_failures_carry_the_attributes_that_are_known(attr: r.PostOp3, wcc: t.WccData, other: t.WccData) -> None:
    status = Nfsstat3.NFS3ERR_ACCES
    assert results.encode_error_attr(status, bytes(attr)) == r.pack_result(status, attr)
    assert results.encode_error_wcc(status, bytes(wcc)) == r.pack_result(status, r.Wcc3(wcc))
    assert results.encode_error_rename(status, bytes(wcc), bytes(other)) == r.pack_result(
        status, r.Rename3Res(wcc, other)
    )
    assert results.encode_error_link(status, bytes(attr), bytes(wcc)) == r.pack_result(
        status, r.Link3Res(attr.attributes, wcc)
    )


@pytest.mark.parametrize(
    ("year", "ns", "sent"),
    [
        (1969, -1, (0, 0)),
        (1970, 0, (0, 0)),
        (2038, 2**31 * t.NS + 5, (2**31, 5)),
        (2106, 2**32 * t.NS - 1, (2**32 - 1, t.NS - 1)),
        (2107, 2**32 * t.NS, (2**32 - 1, t.NS - 1)),
    ],
)
def test_times_the_wire_cannot_carry_are_the_nearest_it_can(year: int, ns: int, sent: tuple[int, int]) -> None:
    st = St(stat.S_IFREG, 1, 1, 0, 0, 0, ns, 0, 0)
    atime = t.Fattr3.from_bytes(results.pack_fattr(st, 0, 0, 0)).atime
    assert (atime.seconds, atime.nseconds) == sent
