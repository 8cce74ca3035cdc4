"""READDIR and READDIRPLUS (RFC 1813 sections 3.3.16, 3.3.17).

The client's limits are maxima and are kept to the byte: `count` and `maxcount` are the size of the whole resok,
`dircount` that of the fileids, names and cookies alone. Linux nfsd looks at maxcount only; a client that means its
dircount (it has that much room for names) would lose entries there. At least one entry is sent however small dircount
is: a client that got none would ask for ever.

The cookie verifier: cookies mean the same for as long as the directory lives, restarts included, so nothing that
happens to a directory makes them bad, and a listing that goes on while files come and go is never broken off. A
verifier that this file system did not hand out does mean somebody else's cookies: NFS3ERR_BAD_COOKIE. All zeros pass:
some clients never send one back.

What READDIRPLUS has encoded is kept for a while (`pages`).
"""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

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
    encode_readdir_parts,
    entry_dircount,
)
from nfsd.procedures.names import DOTS
from nfsd.procedures.pages import Page, Pages
from nfsd.procedures.shown import post_op_attr, post_op_attr_of
from nfsd.rpc.program import Body
from nfsd.vfs.interface import Attributes, Caller, Entry, Later, Listing, Maybe, Node
from nfsd.xdr import Buffer

_COOKIE_MAX = (1 << 63) - 1
_NO_VERIFIER = bytes(8)


class _Room:
    """What one reply still has room for, and whether its entries came to an end before that."""

    __slots__ = ("bytes", "dircount", "entries_max", "eof", "lasting", "taken")

    def __init__(self, size: int, dircount: int, entries_max: int) -> None:
        """`size`: of the entries as they are encoded; `dircount`: of fileids, names and cookies alone."""
        self.bytes = size
        self.dircount = dircount
        self.entries_max = entries_max
        self.taken = 0
        self.eof = True
        self.lasting = True  # whether the same entries would be encoded the same again

    def fill(self, entries: Iterable[Entry], encode: Callable[[Entry], bytes | None]) -> list[bytes]:
        """The entries that fit, encoded; None of `encode` leaves one out. NFS3ERR_TOOSMALL when not one fits."""
        filled: list[bytes] = []
        for entry in entries:
            self.dircount -= entry_dircount(len(entry.name))
            if (self.dircount < 0 and self.taken) or self.taken == self.entries_max:
                self.eof = False
                break
            encoded = encode(entry)
            if encoded is None:
                continue
            self.bytes -= len(encoded)
            if self.bytes < 0:
                self.eof = False
                break
            self.taken += 1
            filled.append(encoded)
        if self.bytes < 0 and not self.taken:
            raise Nfs3Error(Nfsstat3.NFS3ERR_TOOSMALL, "not one entry fits the client's limit")
        return filled


class DirectoryProcedures:
    def __init__(self, exports: ExportTable, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: monotonic seconds."""
        self._exports = exports
        self._resolve = exports.resolve
        self._pages = Pages(clock)

    def readdir(self, caller: Caller, buf: Buffer, offset: int, end: int) -> Maybe[Body]:
        handle, cookie, verifier, count = decode_readdir(buf, offset, end)
        export, directory = self._resolve(handle)

        def encode(listing: Listing) -> Body:
            ours = _our_verifier(listing, cookie, verifier)
            dir_attr = post_op_attr_of(export, directory)
            room = _Room(min(count, READDIR_BYTES_MAX) - RESOK_BYTES - len(dir_attr), READDIR_BYTES_MAX, 1 << 32)
            return encode_readdir(dir_attr, ours, room.fill(listing.entries(cookie), _plain), room.eof)

        return _with_listing(export.fs.readdir(caller, directory), encode)

    def readdirplus(self, caller: Caller, buf: Buffer, offset: int, end: int) -> Maybe[Body]:
        handle, cookie, verifier, dircount, maxcount = decode_readdirplus(buf, offset, end)
        export, directory = self._resolve(handle)

        def encode(listing: Listing) -> Body:
            ours = _our_verifier(listing, cookie, verifier)
            dir_attr = post_op_attr_of(export, directory)
            size = min(maxcount, READDIR_BYTES_MAX) - RESOK_BYTES - len(dir_attr)
            room = _Room(size, dircount, READDIRPLUS_ENTRIES_MAX)
            entries = iter(listing.entries(cookie))
            dots, first = _dots(entries)
            above = room.fill(dots, lambda entry: self._entryplus(caller, export, directory, room, entry))
            if first is None or not room.eof:
                return encode_readdir(dir_attr, ours, above, room.eof)
            page = self._page(caller, export, directory, room, listing.version, first, entries)
            return encode_readdir_parts(dir_attr, ours, above, page.entries, page.eof)

        return _with_listing(export.fs.readdir(caller, directory), encode)

    def _page(
        self,
        caller: Caller,
        export: Export,
        directory: Node,
        room: _Room,
        version: object,
        first: Entry,
        others: Iterable[Entry],
    ) -> Page:
        """The entries from `first` on that there is room for: as they were encoded before, if they can be had so."""
        key = (export, directory, first.cookie, room.bytes, room.dircount, room.taken)
        page = self._pages.get(key, version)
        if page is None:
            room.lasting = True
            entries = room.fill(
                chain((first,), others), lambda entry: self._entryplus(caller, export, directory, room, entry)
            )
            page = Page(b"".join(entries), room.eof)
            if room.lasting:
                self._pages.keep(key, version, page)
        return page

    def _entryplus(self, caller: Caller, export: Export, directory: Node, room: _Room, entry: Entry) -> bytes | None:
        """None for a name that went away since the directory was read."""
        cookie, name, fileid = entry
        try:
            found = self._child(caller, export, directory, name)
        except OSError:
            # It is listed, and what is wrong with it is told to who looks it up.
            room.lasting = False
            return encode_entryplus(fileid, name, cookie)
        if found is None:
            room.lasting = False
            return None
        node, attributes = found
        if attributes.st_nlink > 1 and node.kind != stat.S_IFDIR:
            room.lasting = False
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


def _with_listing(listing: Maybe[Listing], encode: Callable[[Listing], Body]) -> Maybe[Body]:
    return listing.then(encode) if isinstance(listing, Later) else encode(listing)


def _our_verifier(listing: Listing, cookie: int, verifier: bytes) -> bytes:
    """The verifier to send. NFS3ERR_BAD_COOKIE when the client's is another's."""
    ours = listing.verifier.to_bytes(8, "big")
    if cookie > _COOKIE_MAX or (cookie and verifier not in (ours, _NO_VERIFIER)):
        raise Nfs3Error(Nfsstat3.NFS3ERR_BAD_COOKIE, "a cookie or verifier this server never handed out")
    return ours


def _dots(entries: Iterator[Entry]) -> tuple[list[Entry], Entry | None]:
    """`.` and `..` if they come next, and what comes behind them; None at the end."""
    dots: list[Entry] = []
    for entry in entries:
        if entry.name not in DOTS:
            return dots, entry
        dots.append(entry)
    return dots, None
