"""Encoders of READDIR and READDIRPLUS (RFC 1813 sections 3.3.16 and 3.3.17), made for keeping encoded entries.

An entry is encoded once, as it stands in a reply (the TRUE before it included), and can be kept as long as its name,
cookie and attributes hold. A reply is then a join:

    entries = [cached or encode_entryplus(...), ...]
    encode_readdir(dir_attr, cookieverf, entries, eof)

How many fit is the caller's: `RESOK_BYTES + len(dir_attr) + sum(map(len, entries))` is what READDIR's `count` and
READDIRPLUS' `maxcount` limit, and `sum(entry_dircount(len(name)))` what `dircount` does.
"""

import struct
from collections.abc import Iterable

from nfsd.limits import NAME_BYTES_MAX
from nfsd.nfs3.results import NO_ATTR, NO_HANDLE, OK, TRUE, pack_opaque

# The cookie verifier, the FALSE after the last entry, and eof: what a resok has besides attributes and entries.
RESOK_BYTES = 8 + 4 + 4

_END = (struct.pack(">II", 0, 0), struct.pack(">II", 0, 1))  # indexed by eof
# value_follows, fileid, name, cookie; for each length of a name
_ENTRY3 = [struct.Struct(f">IQI{length}s{-length & 3}xQ") for length in range(NAME_BYTES_MAX + 1)]


def encode_entry(fileid: int, name: bytes, cookie: int) -> bytes:
    """`entry3`: of READDIR, and the first part of an `entryplus3`. Names are at most 255 bytes (limits)."""
    length = len(name)
    return _ENTRY3[length].pack(1, fileid, length, name, cookie)


def encode_entryplus(
    fileid: int, name: bytes, cookie: int, attr: bytes = NO_ATTR, handle: bytes | None = None
) -> bytes:
    """`entryplus3`. Attributes and handle may be left out, each for itself: the client then asks when it needs them."""
    if handle is None:
        return encode_entry(fileid, name, cookie) + attr + NO_HANDLE
    return b"".join((encode_entry(fileid, name, cookie), attr, TRUE, pack_opaque(handle)))


def entry_dircount(name_bytes: int) -> int:
    """What an entry counts against READDIRPLUS' `dircount`: fileid, name and cookie only (section 3.3.17)."""
    return 8 + 4 + name_bytes + (-name_bytes & 3) + 8


def encode_readdir(dir_attr: bytes, cookieverf: bytes, entries: Iterable[bytes], eof: bool) -> bytes:
    """READDIR and READDIRPLUS, status NFS3_OK; `cookieverf` has 8 bytes."""
    return b"".join((OK, dir_attr, cookieverf, *entries, _END[eof]))


def encode_readdir_parts(
    dir_attr: bytes, cookieverf: bytes, first: Iterable[bytes], entries: bytes, eof: bool
) -> list[bytes]:
    """The same, as parts of a reply: `entries` may be long, and is not copied."""
    return [b"".join((OK, dir_attr, cookieverf, *first)), entries, _END[eof]]


encode_readdirplus = encode_readdir
