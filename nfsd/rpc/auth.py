"""Who calls: AUTH_NONE and AUTH_SYS (RFC 5531 sections 8.1, 8.2 and appendix A).

AUTH_SYS proves nothing: it is what the client says. Who may connect is decided by address, and whose rights count by
the squash layer. Other flavors are refused, whatever the procedure: a client that opens an RPCSEC_GSS session does so
on procedure 0, and answering that NULL with success would be an answer to a question we did not understand.
"""

from dataclasses import dataclass, field

from nfsd.errors import AUTH_BADCRED, AUTH_REJECTEDCRED, AUTH_TOOWEAK, AuthError, XdrError
from nfsd.limits import (
    AUTH_BYTES_MAX,
    CREDENTIALS_CACHE_ENTRIES_MAX,
    GIDS_MAX,
    MACHINENAME_BYTES_MAX,
)
from nfsd.xdr import Buffer, Packer, Unpacker

AUTH_NONE = 0
AUTH_SYS = 1
AUTH_SHORT = 2

NOBODY = 65534
"""uid and gid of a caller that names none; the Linux kernel's overflowuid."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a caller says of itself. Shared between calls and threads, never changed."""

    uid: int
    gid: int
    gids: tuple[int, ...] = ()
    machinename: bytes = field(default=b"", compare=False)
    flavor: int = AUTH_SYS


ANONYMOUS = Credentials(uid=NOBODY, gid=NOBODY, flavor=AUTH_NONE)


def decode_authsys_parms(body: Buffer) -> Credentials:
    """`authsys_parms`: stamp, machinename, uid, gid, gids. Raises `XdrError`.

    The stamp is thrown away: it says nothing. Bytes after the last group are ignored, as libtirpc does.
    """
    unpacker = Unpacker(body)
    unpacker.uint32()
    machinename = unpacker.opaque(MACHINENAME_BYTES_MAX)
    uid = unpacker.uint32()
    gid = unpacker.uint32()
    gids = unpacker.array(unpacker.uint32, GIDS_MAX)
    return Credentials(uid, gid, tuple(gids), machinename)


def encode_authsys_parms(credentials: Credentials, stamp: int = 0) -> bytes:
    """The body of an AUTH_SYS credential: what probes and tests send."""
    packer = Packer()
    packer.uint32(stamp)
    packer.opaque(credentials.machinename)
    packer.uint32(credentials.uid)
    packer.uint32(credentials.gid)
    packer.array(packer.uint32, credentials.gids)
    return bytes(packer)


class CredentialsCache:
    """AUTH_SYS bodies, decoded once: a client repeats the same bytes on each call.

    Bounded by entries; at the bound the oldest goes. A body that does not decode is not remembered.
    """

    def __init__(self, entries_max: int = CREDENTIALS_CACHE_ENTRIES_MAX) -> None:
        self._entries_max = entries_max
        self._known: dict[bytes, Credentials] = {}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, flavor: int, body: bytes) -> Credentials:
        """The caller, or `AuthError` with the auth_stat to send."""
        if flavor == AUTH_SYS:
            credentials = self._known.get(body)
            return self._decode(body) if credentials is None else credentials
        if flavor == AUTH_NONE:
            return ANONYMOUS
        if flavor == AUTH_SHORT:
            # Section 8.2 of RFC 1057, kept in appendix A: the client then sends its full credential again.
            raise AuthError(AUTH_REJECTEDCRED, "AUTH_SHORT was never handed out")
        # "Rejected for security reasons": the Linux client gives up at once with EACCES; AUTH_BADCRED it tries again.
        raise AuthError(AUTH_TOOWEAK, f"flavor {flavor} is not served, AUTH_SYS is")

    def _decode(self, body: bytes) -> Credentials:
        if len(body) > AUTH_BYTES_MAX:
            raise AuthError(AUTH_BADCRED, f"a credential of {len(body)} bytes")
        try:
            credentials = decode_authsys_parms(body)
        except XdrError as error:
            raise AuthError(AUTH_BADCRED, str(error)) from error
        if len(self._known) >= self._entries_max:
            del self._known[next(iter(self._known))]
        self._known[body] = credentials
        return credentials
