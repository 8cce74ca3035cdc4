"""READDIR and READDIRPLUS (RFC 1813 sections 3.3.16, 3.3.17).

The client's limits are maxima and are kept to the byte: `count` and `maxcount` are the size of the whole resok,
`dircount` that of the fileids, names and cookies alone. Linux nfsd looks at maxcount only; a client that means its
dircount (it has that much room for names) would lose entries there. At least one entry is sent however small dircount
is: a client that got none would ask for ever.

The cookie verifier: cookies mean the same for as long as the directory lives, restarts included, so nothing that
happens to a directory makes them bad, and a listing that goes on while files come and go is never broken off. A
verifier that this file system did not hand out does mean somebody else's cookies: NFS3ERR_BAD_COOKIE. All zeros pass:
some clients never send one back.
"""

from __future__ import annotations

from collections.abc import Callable

from nfsd.errors import Nfs3Error
from nfsd.exports import Export, ExportTable
from nfsd.limits import READDIR_BYTES_MAX, READDIRPLUS_ENTRIES_MAX
from nfsd.nfs3.args import decode_readdir, decode_readdirplus
from nfsd.nfs3.const import Nfsstat3
from nfsd.nfs3.dirlist import (
    RESOK_BYTES,
    encode_entry,
    encode_entryplus,
    encode_readdir,
    entry_dircount,
)
from nfsd.procedures.shown import post_op_attr, post_op_attr_of
from nfsd.vfs.interface import Attributes, Caller, Entry, Later, Listing, Maybe, Node
from nfsd.xdr import Buffer

_COOKIE_MAX = (1 << 63) - 1
_NO_VERIFIER = bytes(8)


class DirectoryProcedures:
    def __init__(self, exports: ExportTable) -> None:
        self._exports = exports
        self._resolve = exports.resolve

    def readdir(self, caller: Caller, buf: Buffer, offset: int, end: int) -> Maybe[bytes]:
        handle, cookie, verifier, count = decode_readdir(buf, offset, end)
        export, directory = self._resolve(handle)

        def encode(listing: Listing) -> bytes:
            dir_attr = post_op_attr_of(export, directory)
            room = min(count, READDIR_BYTES_MAX) - RESOK_BYTES - len(dir_attr)
            return _page(listing, cookie, verifier, dir_attr, room, room, READDIR_BYTES_MAX, _plain)

        return _with_listing(export.fs.readdir(caller, directory), encode)

    def readdirplus(self, caller: Caller, buf: Buffer, offset: int, end: int) -> Maybe[bytes]:
        handle, cookie, verifier, dircount, maxcount = decode_readdirplus(buf, offset, end)
        export, directory = self._resolve(handle)

        def encode(listing: Listing) -> bytes:
            dir_attr = post_op_attr_of(export, directory)
            room = min(maxcount, READDIR_BYTES_MAX) - RESOK_BYTES - len(dir_attr)
            return _page(
                listing, cookie, verifier, dir_attr, room, dircount, READDIRPLUS_ENTRIES_MAX,
                lambda entry: self._entryplus(caller, export, directory, entry),
            )  # fmt: skip

        return _with_listing(export.fs.readdir(caller, directory), encode)

    def _entryplus(self, caller: Caller, export: Export, directory: Node, entry: Entry) -> bytes | None:
        """None for a name that went away since the directory was read."""
        cookie, name, fileid = entry
        try:
            found = self._child(caller, export, directory, name)
        except OSError:
            # It is listed, and what is wrong with it is told to who looks it up.
            return encode_entryplus(fileid, name, cookie)
        if found is None:
            return None
        node, attributes = found
        return encode_entryplus(
            node.fileid, name, cookie, post_op_attr(export, attributes), self._exports.handle(export, node)
        )

    def _child(self, caller: Caller, export: Export, directory: Node, name: bytes) -> tuple[Node, Attributes] | None:
        if name == b".":
            return directory, export.fs.getattr(directory)
        if name == b"..":
            return export.fs.parent(caller, directory)
        return export.fs.peek(directory, name)


def _plain(entry: Entry) -> bytes:
    return encode_entry(entry.fileid, entry.name, entry.cookie)


def _with_listing(listing: Maybe[Listing], encode: Callable[[Listing], bytes]) -> Maybe[bytes]:
    return listing.then(encode) if isinstance(listing, Later) else encode(listing)


def _page(
    listing: Listing,
    cookie: int,
    verifier: bytes,
    dir_attr: bytes,
    room: int,
    dircount: int,
    entries_max: int,
    encode: Callable[[Entry], bytes | None],
) -> bytes:
    """One reply: the entries behind `cookie` that fit `room` bytes encoded, and `dircount` bytes of names."""
    ours = listing.verifier.to_bytes(8, "big")
    if cookie > _COOKIE_MAX or (cookie and verifier not in (ours, _NO_VERIFIER)):
        raise Nfs3Error(Nfsstat3.NFS3ERR_BAD_COOKIE, "a cookie or verifier this server never handed out")
    entries: list[bytes] = []
    eof = True
    for entry in listing.entries(cookie):
        dircount -= entry_dircount(len(entry.name))
        if (dircount < 0 and entries) or len(entries) == entries_max:
            eof = False
            break
        encoded = encode(entry)
        if encoded is None:
            continue
        room -= len(encoded)
        if room < 0:
            eof = False
            break
        entries.append(encoded)
    if room < 0 and not entries:
        raise Nfs3Error(Nfsstat3.NFS3ERR_TOOSMALL, "not one entry fits the client's limit")
    return encode_readdir(dir_attr, ours, entries, eof)
