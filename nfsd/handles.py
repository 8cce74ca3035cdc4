"""File handles: 32 bytes that say by themselves which file they mean (RFC 1813 section 2.5, nfs_fh3).

    8 export key | 8 fileid | 4 generation | 12 MAC          big endian; the MAC is keyed BLAKE2b over the rest

The rules: nothing about a handle is remembered that could not be found again, so a restart of the server, or the
eviction of a table entry, costs a client time and never a file; and nobody who was not given a handle can make one,
so the check of an address and of an export is never walked around by counting inode numbers up.

One answer for all that cannot be verified. A forged handle, one from before the key was lost and one of an export that
is gone are all NFS3ERR_STALE: the errno that clients and programs know what to do with (drop the entry, look it up
again), and an attacker does not learn which part of his guess was wrong. Linux turns NFS3ERR_BADHANDLE into
errno 521, which no program knows; it is left for what was never a handle of ours: another length.
"""

from __future__ import annotations

import hmac
import struct
from hashlib import blake2b
from typing import NamedTuple

from nfsd.errors import Nfs3Error
from nfsd.nfs3.const import Nfsstat3

HANDLE_BYTES = 32
EXPORT_KEY_BYTES = 8
_MAC_BYTES = 12
_SIGNED = struct.Struct(">8sQI")
_WHOLE = struct.Struct(">8sQI12s")


class FileId(NamedTuple):
    """What a verified handle says."""

    export_key: bytes
    fileid: int
    generation: int


class HandleCodec:
    """Makes and verifies handles with one secret. Gateways that share the secret accept each other's handles."""

    def __init__(self, secret: bytes) -> None:
        """`secret`: 16 to 64 random bytes, kept as long as clients may hold handles (a state directory).

        ValueError when it is shorter or longer.
        """
        if not 16 <= len(secret) <= 64:
            raise ValueError(f"the handle secret has {len(secret)} bytes; wanted 16 to 64 random ones")
        self._keyed = blake2b(key=secret, digest_size=_MAC_BYTES, person=b"nfsd handle")

    def _mac(self, signed: bytes) -> bytes:
        # A copy of the keyed state saves the key block's compression: a handle is minted for every entry of a listing.
        mac = self._keyed.copy()
        mac.update(signed)
        return mac.digest()

    def encode(self, export_key: bytes, fileid: int, generation: int) -> bytes:
        signed = _SIGNED.pack(export_key, fileid, generation)
        return signed + self._mac(signed)

    def decode(self, handle: bytes) -> FileId:
        """Nfs3Error: NFS3ERR_BADHANDLE when it has not the form of our handles, NFS3ERR_STALE when it is not ours."""
        if len(handle) != HANDLE_BYTES:
            raise Nfs3Error(
                Nfsstat3.NFS3ERR_BADHANDLE, f"a handle of {len(handle)} bytes; this server's have {HANDLE_BYTES}"
            )
        export_key, fileid, generation, mac = _WHOLE.unpack(handle)
        if not hmac.compare_digest(mac, self._mac(handle[:-_MAC_BYTES])):
            raise Nfs3Error(Nfsstat3.NFS3ERR_STALE, "a handle that this server's key did not sign")
        return FileId(export_key, fileid, generation)


def derived_export_key(secret: bytes, path: bytes) -> bytes:
    """An export key for embedders with nothing of their own to remember: the same path and secret, the same key."""
    return blake2b(path, key=secret[:64], digest_size=EXPORT_KEY_BYTES, person=b"nfsd export").digest()
