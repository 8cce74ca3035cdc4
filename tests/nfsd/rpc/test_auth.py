"""Credentials: what a caller says of itself, and what is refused (RFC 5531 sections 8.1 and 8.2, appendix A)."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nfsd.errors import AUTH_BADCRED, AUTH_REJECTEDCRED, AUTH_TOOWEAK, AuthError, XdrError
from nfsd.rpc.auth import (
    ANONYMOUS,
    AUTH_NONE,
    AUTH_SHORT,
    AUTH_SYS,
    Credentials,
    CredentialsCache,
    decode_authsys_parms,
    encode_authsys_parms,
)

# stamp, "box" with its padding, uid 1000, gid 100, gids 4 and 24
BODY = bytes.fromhex("0badcafe 00000003 626f7800 000003e8 00000064 00000002 00000004 00000018")

uint32s = some.integers(0, 2**32 - 1)
credentials = some.builds(
    Credentials, uint32s, uint32s, some.lists(uint32s, max_size=16).map(tuple), some.binary(max_size=255)
)


def test_authsys_parms_are_read_in_the_order_of_the_rfc() -> None:
    found = decode_authsys_parms(BODY)
    assert (found.uid, found.gid, found.gids, found.machinename) == (1000, 100, (4, 24), b"box")


@given(credentials, uint32s)
def test_what_is_encoded_decodes_to_the_same(value: Credentials, stamp: int) -> None:
    found = decode_authsys_parms(encode_authsys_parms(value, stamp))
    assert found == value
    assert found.machinename == value.machinename


@given(some.binary(max_size=120))
def test_any_bytes_decode_or_raise_xdr_error(body: bytes) -> None:
    try:
        decode_authsys_parms(body)
    except XdrError:
        pass


@pytest.mark.parametrize(
    ("flavor", "body", "auth_stat"),
    [
        (AUTH_SYS, b"", AUTH_BADCRED),
        (AUTH_SYS, BODY[:-1], AUTH_BADCRED),
        (AUTH_SYS, encode_authsys_parms(Credentials(0, 0, tuple(range(17)))), AUTH_BADCRED),
        (AUTH_SYS, encode_authsys_parms(Credentials(0, 0, (), bytes(256))), AUTH_BADCRED),
        (AUTH_SYS, BODY + bytes(400), AUTH_BADCRED),
        (AUTH_SHORT, b"1234", AUTH_REJECTEDCRED),
        (3, b"", AUTH_TOOWEAK),
        (6, bytes(20), AUTH_TOOWEAK),
    ],
    ids=["empty", "cut", "17 groups", "long machinename", "over 400 bytes", "AUTH_SHORT", "AUTH_DH", "RPCSEC_GSS"],
)
def test_what_is_refused_says_why(flavor: int, body: bytes, auth_stat: int) -> None:
    cache = CredentialsCache()
    with pytest.raises(AuthError) as caught:
        cache.get(flavor, body)
    assert caught.value.auth_stat == auth_stat
    assert len(cache) == 0


def test_auth_none_is_nobody_whatever_its_body() -> None:
    assert CredentialsCache().get(AUTH_NONE, b"anything") is ANONYMOUS
    assert ANONYMOUS.uid == ANONYMOUS.gid == 65534


def test_the_same_bytes_are_decoded_once() -> None:
    cache = CredentialsCache()
    assert cache.get(AUTH_SYS, BODY) is cache.get(AUTH_SYS, bytes(bytearray(BODY)))


def test_the_cache_stays_within_its_bound_and_right() -> None:
    cache = CredentialsCache(entries_max=4)
    for uid in [*range(20), *range(20)]:
        assert cache.get(AUTH_SYS, encode_authsys_parms(Credentials(uid, uid))).uid == uid
    assert len(cache) == 4
