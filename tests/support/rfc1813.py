"""Results of NFSv3 and MOUNT read with xdrlib3 and RFC 1813 alone: a second opinion on what the server sends.

Nothing of `nfsd` is imported. A table says of each procedure what its resok and resfail are made of, in the RFC's
words; strictness is the RFC's and RFC 4506's (enumerations, booleans, padding of zeros, nothing left over).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import xdrlib3

NFS_PROGRAM, MOUNT_PROGRAM = 100003, 100005
FHSIZE3, MNTPATHLEN, MNTNAMLEN = 64, 1024, 255
NFSSTAT3 = {
    0, 1, 2, 5, 6, 13, 17, 18, 19, 20, 21, 22, 27, 28, 30, 31, 63, 66, 69, 70, 71, *range(10001, 10009),
}  # fmt: skip
MOUNTSTAT3 = {0, 1, 2, 5, 13, 20, 22, 63, 10004, 10006}
FTYPE3 = range(1, 8)
STABLE_HOW = range(3)
NFS3_OK = 0

Read = Callable[["Results"], Any]


class Malformed(Exception):
    """The bytes are not what the RFC says."""


class Results:
    """One procedure's results, to be read once from the beginning to the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._xdr = xdrlib3.Unpacker(data)

    def _within(self, value: int, allowed: Any, what: str) -> int:
        if value not in allowed:
            raise Malformed(f"{what}: found {value}, wanted one of {allowed}")
        return value

    def uint32(self) -> int:
        return int(self._xdr.unpack_uint())

    def uint64(self) -> int:
        return int(self._xdr.unpack_uhyper())

    def boolean(self) -> bool:
        return bool(self._within(self.uint32(), (0, 1), "bool"))

    def enum(self, allowed: Any) -> int:
        return self._within(self.uint32(), allowed, "enum")

    def opaque(self, most: int = 1 << 20) -> bytes:
        data = bytes(self._xdr.unpack_opaque())
        self._within(len(data), range(most + 1), "length")
        end = self._xdr.get_position()
        padding = self._data[end - -len(data) % 4 : end]
        if padding.strip(b"\0"):
            raise Malformed(f"padding is {padding!r}, wanted zeros")
        return data

    def fixed(self, size: int) -> bytes:
        return bytes(self._xdr.unpack_fopaque(size))

    def optional(self, read: Read) -> Any:
        return read(self) if self.boolean() else None

    def chain(self, read: Read) -> list[Any]:
        found = []
        while self.boolean():
            found.append(read(self))
        return found

    def done(self) -> None:
        self._xdr.done()


# ---- section 2.5 ----


def nfstime3(results: Results) -> tuple[int, int]:
    seconds, nseconds = results.uint32(), results.uint32()
    if nseconds >= 1_000_000_000:
        raise Malformed(f"nseconds: {nseconds}")
    return seconds, nseconds


def fattr3(results: Results) -> dict[str, Any]:
    kind, mode, nlink = results.enum(FTYPE3), results.uint32(), results.uint32()
    if mode & ~0o7777:
        raise Malformed(f"mode: {mode:o} has bits that mode3 has not")
    uid, gid, size, used = results.uint32(), results.uint32(), results.uint64(), results.uint64()
    rdev, fsid, fileid = (results.uint32(), results.uint32()), results.uint64(), results.uint64()
    times = [nfstime3(results) for _ in range(3)]
    return {
        "type": kind, "mode": mode, "nlink": nlink, "uid": uid, "gid": gid, "size": size, "used": used, "rdev": rdev,
        "fsid": fsid, "fileid": fileid, "times": times,
    }  # fmt: skip


def post_op_attr(results: Results) -> Any:
    return results.optional(fattr3)


def wcc_attr(results: Results) -> tuple[Any, ...]:
    return results.uint64(), nfstime3(results), nfstime3(results)


def wcc_data(results: Results) -> tuple[Any, ...]:
    return results.optional(wcc_attr), post_op_attr(results)


def post_op_fh3(results: Results) -> Any:
    return results.optional(nfs_fh3)


def nfs_fh3(results: Results) -> bytes:
    return results.opaque(FHSIZE3)


def name(results: Results) -> bytes:
    found = results.opaque(255)
    if not found or b"/" in found or b"\0" in found:
        raise Malformed(f"a name: {found!r}")
    return found


# ---- section 3.3 ----


def _words(*kinds: Read) -> Read:
    return lambda results: tuple(kind(results) for kind in kinds)


u32, u64, boolean = Results.uint32, Results.uint64, Results.boolean


def _verf(results: Results) -> bytes:
    return results.fixed(8)


def _stable(results: Results) -> int:
    return results.enum(STABLE_HOW)


def _read3resok(results: Results) -> None:
    post_op_attr(results)
    count, _eof, data = results.uint32(), results.boolean(), results.opaque()
    if count != len(data):
        raise Malformed(f"READ: count is {count}, and {len(data)} bytes came")


def _entries(entry: Read) -> Read:
    def read(results: Results) -> None:
        names = [each[1] for each in results.chain(entry)]
        if len(names) != len(set(names)):
            raise Malformed("a name comes twice in one listing")

    return read


_entry3 = _words(u64, name, u64)
_entryplus3 = _words(u64, name, u64, post_op_attr, post_op_fh3)
_made = _words(post_op_fh3, post_op_attr, wcc_data)
_nothing = _words()
RESULTS: dict[int, tuple[Read, Read]] = {  # procedure: (resok, resfail)
    1: (fattr3, _nothing),
    2: (wcc_data, wcc_data),
    3: (_words(nfs_fh3, post_op_attr, post_op_attr), post_op_attr),
    4: (_words(post_op_attr, u32), post_op_attr),
    5: (_words(post_op_attr, Results.opaque), post_op_attr),
    6: (_read3resok, post_op_attr),
    7: (_words(wcc_data, u32, _stable, _verf), wcc_data),
    8: (_made, wcc_data),
    9: (_made, wcc_data),
    10: (_made, wcc_data),
    11: (_made, wcc_data),
    12: (wcc_data, wcc_data),
    13: (wcc_data, wcc_data),
    14: (_words(wcc_data, wcc_data), _words(wcc_data, wcc_data)),
    15: (_words(post_op_attr, wcc_data), _words(post_op_attr, wcc_data)),
    16: (_words(post_op_attr, _verf, _entries(_entry3), boolean), post_op_attr),
    17: (_words(post_op_attr, _verf, _entries(_entryplus3), boolean), post_op_attr),
    18: (_words(post_op_attr, *[u64] * 6, u32), post_op_attr),
    19: (_words(post_op_attr, *[u32] * 7, u64, nfstime3, u32), post_op_attr),
    20: (_words(post_op_attr, u32, u32, *[boolean] * 4), post_op_attr),
    21: (_words(wcc_data, _verf), wcc_data),
}


def _mnt(results: Results) -> None:
    if results.enum(MOUNTSTAT3) == NFS3_OK:
        nfs_fh3(results)
        for _ in range(results.uint32()):
            results.uint32()


def _path(results: Results) -> bytes:
    return results.opaque(MNTPATHLEN)


def _groups(results: Results) -> None:
    results.chain(lambda each: each.opaque(MNTNAMLEN))


def _hostname_and_path(results: Results) -> None:
    results.opaque(MNTNAMLEN)
    _path(results)


MOUNT_RESULTS: dict[int, Read] = {  # appendix I
    0: _nothing,
    1: _mnt,
    2: lambda results: results.chain(_hostname_and_path),
    3: _nothing,
    4: _nothing,
    5: lambda results: results.chain(_words(_path, _groups)),
}


def check_results(prog: int, proc: int, data: bytes) -> int:
    """The status of a procedure's results, which are well formed; `Malformed` or xdrlib3's errors when they are not."""
    results = Results(data)
    status = NFS3_OK
    if prog == MOUNT_PROGRAM:
        MOUNT_RESULTS[proc](results)
    elif proc != 0:
        status = results.enum(NFSSTAT3)
        RESULTS[proc][status != NFS3_OK](results)
    results.done()
    return status
