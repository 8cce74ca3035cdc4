"""Which worker process answers a call: the one that owns the volume its first handle is of.

A handle begins with the key of its export (`nfsd.handles`), so the question is one look-up in a table; no handle is
verified here. A key that nobody owns, a call without a handle and a record that is no call are answered where they
came in: every worker answers those alike.

MOUNT is answered by all: MNT by the owner of the path; what speaks of the whole server (DUMP, EXPORT, UMNT, UMNTALL) is
asked of every worker, and lists are joined.

The rule: a call that changes something goes to exactly one worker, always the same one.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from nfsd.errors import XdrError
from nfsd.exports import paths_above
from nfsd.handles import EXPORT_KEY_BYTES, HANDLE_BYTES
from nfsd.limits import HANDOVER_CALLS_MIN
from nfsd.mount3.types import MOUNT_PROGRAM, MOUNT_V3, MountProc, decode_dirpath
from nfsd.nfs3.const import NFS_PROGRAM
from nfsd.rpc.message import REPLY_OK_BYTES, marked_reply_ok
from nfsd.rpc.program import Finished, Reply
from nfsd.rpc.record import MARK_BYTES
from nfsd.server.connection import Call, Peer
from nfsd.server.link import OwnerLink

_CALL = struct.Struct(">I4xI4xI4xI")  # mtype, prog, proc, the credential's length
_LENGTH = struct.Struct(">I")
_CREDENTIAL_AT = 32
_USUAL_KEY_AT = _CREDENTIAL_AT + 8 + 4  # behind an empty verifier and the handle's length
_XID = struct.Struct(">I")
_BODY_AT = MARK_BYTES + REPLY_OK_BYTES


@dataclass(slots=True)
class Ownership:
    """Who owns what: others `keys` (export keys) and `paths` (export paths), we `own_keys` and `own_paths`."""

    keys: Mapping[bytes, int] = field(default_factory=dict)
    paths: Mapping[bytes, int] = field(default_factory=dict)
    own_paths: frozenset[bytes] = frozenset()
    own_keys: frozenset[bytes] = frozenset()


class Router:
    """`call` is a `Connection`'s. `local` answers what is ours; `links` lead to the other workers, by number."""

    def __init__(
        self, local: Call, links: Mapping[int, OwnerLink], owned: Ownership, prefers: Callable[[Peer, int], None]
    ) -> None:
        """`prefers(peer, owner)`: the last `HANDOVER_CALLS_MIN` calls with a handle were all this worker's."""
        self._local = local
        self._links = links
        self._owned = owned
        self._owner_of = owned.keys.get
        self._own_keys = owned.own_keys
        self._prefers = prefers
        self._runs: dict[Peer, tuple[int, int]] = {}  # clients whose last calls were another worker's: whose, how many

    def call(self, peer: Peer, buf: bytearray, start: int, end: int) -> Reply:
        """As `rpc.program.Dispatcher.call`."""
        # Where the key stands in all but every call: no verifier, a credential of less than 256 bytes. A call that was
        # made to deceive this is answered here as what it is, a call with a handle that is not ours.
        at = start + _USUAL_KEY_AT + buf[start + _CREDENTIAL_AT - 1] if end - start > _CREDENTIAL_AT else end
        if bytes(buf[at : at + EXPORT_KEY_BYTES]) in self._own_keys and not self._runs:
            return self._local(peer, buf, start, end)
        key = first_key(buf, start, end)
        if key is None:
            mount = self._mount(peer, buf, start, end)
            return self._local(peer, buf, start, end) if mount is None else mount
        owner = self._owner_of(key)
        if owner is None:
            if self._runs:
                self._runs.pop(peer, None)
            return self._local(peer, buf, start, end)
        last, count = self._runs.get(peer, (owner, 0))
        count = count + 1 if last == owner else 1
        if count >= HANDOVER_CALLS_MIN:
            count = 0
            self._prefers(peer, owner)
        self._runs[peer] = (owner, count)
        return cast(Reply, self._links[owner].call(peer, bytes(memoryview(buf)[start:end])))

    def forget(self, peer: Peer) -> None:
        """His connection is closed."""
        self._runs.pop(peer, None)

    def _mount(self, peer: Peer, buf: bytearray, start: int, end: int) -> Reply:
        """None: answer it here."""
        found = _arguments(buf, start, end)
        if found is None or found[0] != MOUNT_PROGRAM:
            return None
        _program, proc, at = found
        if _LENGTH.unpack_from(buf, start + 16)[0] != MOUNT_V3:
            return None
        if proc == MountProc.MNT:
            try:
                owner = self._path_owner(decode_dirpath(buf, at, end))
            except XdrError:
                return None
            return None if owner is None else cast(Reply, self._ask(owner, peer, bytes(memoryview(buf)[start:end])))
        if proc in (MountProc.DUMP, MountProc.EXPORT, MountProc.UMNT, MountProc.UMNTALL):
            own = self._local(peer, buf, start, end)
            if not isinstance(own, bytes):
                return own
            joined = proc in (MountProc.DUMP, MountProc.EXPORT)
            return cast(Reply, self._ask_all(peer, bytes(memoryview(buf)[start:end]), own, joined))
        return None

    def _path_owner(self, path: bytes) -> int | None:
        """The owner of the longest exported path above; None: it is ours, or nobody's."""
        for above, _below in paths_above(path):
            if above in self._owned.own_paths:
                return None
            if above in self._owned.paths:
                return self._owned.paths[above]
        return None

    def _ask(self, owner: int, peer: Peer, record: bytes) -> Awaitable[Finished]:
        return self._links[owner].call(peer, record)

    async def _ask_all(self, peer: Peer, record: bytes, own: bytes, joined: bool) -> Finished:
        """Every worker's answer as one: XDR lists (RFC 4506 section 4.19) end with a word of 0, dropped between two."""
        others = await asyncio.gather(*(link.call(peer, record) for link in self._links.values()))
        if any(other is None for other in others):
            return None
        if not joined or len(own) <= _BODY_AT:
            return own
        bodies = [own[_BODY_AT:], *(cast(bytes, other)[_BODY_AT:] for other in others)]
        body = b"".join(part[: -_LENGTH.size] for part in bodies) + bytes(_LENGTH.size)
        return marked_reply_ok(_XID.unpack_from(record)[0], len(body)) + body


def _arguments(buf: bytearray, start: int, end: int) -> tuple[int, int, int] | None:
    """Program, procedure and where the arguments begin; None when the header is not whole (RFC 5531 section 9)."""
    body = start + _CREDENTIAL_AT
    if body + 8 > end:
        return None
    mtype, program, proc, length = _CALL.unpack_from(buf, start + 4)
    verifier = body + length + (-length & 3) + 4
    if mtype or verifier + 4 > end:
        return None
    (length,) = _LENGTH.unpack_from(buf, verifier)
    at = verifier + 4 + length + (-length & 3)
    return (program, proc, at) if at <= end else None


def first_key(buf: bytearray, start: int, end: int) -> bytes | None:
    """The export key of an NFS call's first argument, which is a handle in every procedure but NULL (RFC 1813 section
    3.3). None: it is no NFS call, or its handle has not the length of ours."""
    found = _arguments(buf, start, end)
    if found is None or found[0] != NFS_PROGRAM or not found[1]:
        return None
    at = found[2]
    if at + 4 + HANDLE_BYTES > end or _LENGTH.unpack_from(buf, at)[0] != HANDLE_BYTES:
        return None
    return bytes(buf[at + 4 : at + 4 + EXPORT_KEY_BYTES])
