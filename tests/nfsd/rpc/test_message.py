"""Call headers in, reply headers out (RFC 5531 section 9); xdrlib3 is the oracle."""

import pytest
import xdrlib3
from hypothesis import given
from hypothesis import strategies as some

from nfsd import errors
from nfsd.errors import AUTH_BADCRED, AUTH_BADVERF, AuthError, NfsdError, RecordError, RpcError, RpcMismatch
from nfsd.rpc import message

uint32s = some.integers(0, 2**32 - 1)


def oracle_call(
    *words: int, flavor: int = 0, credential: bytes = b"", verifier: bytes = b"", arguments: bytes = b""
) -> bytes:
    packer = xdrlib3.Packer()
    for word in (*words, flavor):
        packer.pack_uint(word)
    packer.pack_opaque(credential)
    packer.pack_uint(0)
    packer.pack_opaque(verifier)
    return bytes(packer.get_buffer()) + arguments


@given(
    uint32s, uint32s, uint32s, uint32s, uint32s, some.binary(max_size=400), some.binary(max_size=400),
    some.binary(max_size=20), some.binary(max_size=9), some.binary(max_size=9),
)  # fmt: skip
def test_a_call_is_read_as_xdrlib_writes_it(
    xid: int, prog: int, vers: int, proc: int, flavor: int, credential: bytes, verifier: bytes, arguments: bytes,
    before: bytes, behind: bytes,
) -> None:  # fmt: skip
    call = oracle_call(
        xid, 0, 2, prog, vers, proc, flavor=flavor, credential=credential, verifier=verifier, arguments=arguments
    )
    buf = bytearray(before + call + behind)
    start, end = len(before), len(before) + len(call)
    assert message.decode_call(buf, start, end) == (
        xid, prog, vers, proc, flavor, credential, end - len(arguments)
    )  # fmt: skip
    assert message.peek_xid(buf, start, end) == xid


@given(uint32s, uint32s, uint32s, uint32s, some.binary(max_size=400), some.binary(max_size=20))
def test_the_call_we_send_is_the_one_xdrlib_writes(
    xid: int, prog: int, vers: int, proc: int, credential: bytes, arguments: bytes
) -> None:
    ours = message.encode_call(xid, prog, vers, proc, arguments, flavor=1, credential=credential)
    theirs = oracle_call(xid, 0, 2, prog, vers, proc, flavor=1, credential=credential, arguments=arguments)
    assert ours == theirs


@given(some.binary(max_size=120), some.binary(max_size=40))
def test_any_bytes_are_a_call_or_have_an_answer_or_close_the_connection(data: bytes, behind: bytes) -> None:
    try:
        offset = message.decode_call(data + behind, 0, len(data))[-1]
    except (RpcError, RecordError):
        return
    assert offset <= len(data)


@pytest.mark.parametrize("length", range(40))
def test_a_call_cut_short_closes_the_connection(length: int) -> None:
    with pytest.raises(RecordError):
        message.decode_call(message.encode_call(1, 2, 3, 4)[:length], 0, length)


@pytest.mark.parametrize("behind", [b"", bytes(64), b"\xff" * 64])
def test_a_call_cut_anywhere_is_refused_whatever_stands_behind_it(behind: bytes) -> None:
    call = oracle_call(1, 0, 2, 3, 4, 5, flavor=1, credential=b"credit", verifier=b"verif")
    for length in range(len(call)):
        with pytest.raises((RecordError, AuthError)):
            message.decode_call(call[:length] + behind, 0, length)


def test_a_reply_is_no_call() -> None:
    reply = message.reply_ok(1) + bytes(40)
    with pytest.raises(RecordError, match="message type 1"):
        message.decode_call(reply, 0, len(reply))


def test_another_rpc_version_is_rpc_mismatch() -> None:
    call = oracle_call(9, 0, 3, 100003, 3, 0)
    with pytest.raises(RpcMismatch) as caught:
        message.decode_call(call, 0, len(call))
    # xid REPLY MSG_DENIED RPC_MISMATCH low 2 high 2
    assert message.encode_error(9, caught.value) == bytes.fromhex(
        "00000009 00000001 00000001 00000000 00000002 00000002"
    )


@pytest.mark.parametrize("credential", [401, 1000, 0xFFFFFFFF])
def test_a_credential_over_400_bytes_is_a_bad_credential(credential: int) -> None:
    call = bytearray(oracle_call(9, 0, 2, 100003, 3, 0, arguments=bytes(2000)))
    call[28:32] = credential.to_bytes(4, "big")
    with pytest.raises(AuthError) as caught:
        message.decode_call(call, 0, len(call))
    assert caught.value.auth_stat == AUTH_BADCRED


@pytest.mark.parametrize("verifier", [401, 0xFFFFFFFF])
def test_a_verifier_over_400_bytes_is_a_bad_verifier(verifier: int) -> None:
    call = bytearray(oracle_call(9, 0, 2, 100003, 3, 0, arguments=bytes(2000)))
    call[36:40] = verifier.to_bytes(4, "big")
    with pytest.raises(AuthError) as caught:
        message.decode_call(call, 0, len(call))
    assert caught.value.auth_stat == AUTH_BADVERF


# Section 9: after xid and REPLY, MSG_ACCEPTED with its verifier and accept_stat, or MSG_DENIED with reject_stat.
REPLIES = [
    (errors.ProgUnavail(), "00000000 00000000 00000000 00000001"),
    (errors.ProgMismatch(3, 4), "00000000 00000000 00000000 00000002 00000003 00000004"),
    (errors.ProcUnavail(), "00000000 00000000 00000000 00000003"),
    (errors.GarbageArgs(), "00000000 00000000 00000000 00000004"),
    (errors.SystemErr(), "00000000 00000000 00000000 00000005"),
    (errors.RpcMismatch(), "00000001 00000000 00000002 00000002"),
    (errors.AuthError(errors.AUTH_TOOWEAK, "x"), "00000001 00000001 00000005"),
]


@pytest.mark.parametrize(("error", "words"), REPLIES, ids=[type(error).__name__ for error, _ in REPLIES])
def test_each_refusal_has_the_reply_of_the_rfc(error: RpcError, words: str) -> None:
    assert message.encode_error(0x01020304, error) == bytes.fromhex("01020304 00000001" + words)


def test_an_accepted_reply_is_24_bytes_before_its_results() -> None:
    expected = bytes.fromhex("01020304 00000001 00000000 00000000 00000000 00000000")
    assert message.reply_ok(0x01020304) == expected
    assert message.marked_reply_ok(0x01020304, 100) == bytes.fromhex("8000007c") + expected
    assert message.marked(expected) == bytes.fromhex("80000018") + expected


def test_every_error_says_what_was_found_and_wanted() -> None:
    assert str(errors.XdrError(8, "bool 0 or 1, found 2")) == "undecodable XDR at byte 8: wanted bool 0 or 1, found 2"
    assert str(errors.ProgMismatch(3, 3)) == "ProgMismatch: versions 3 to 3 are served"
    assert str(errors.AuthError(5, "flavor 6")) == "credentials refused (auth_stat 5): flavor 6"
    status = errors.Nfsstat3.NFS3ERR_STALE
    assert str(errors.Nfs3Error(status)) == "NFS3ERR_STALE"
    assert str(errors.Nfs3Error(status, "export gone")) == "NFS3ERR_STALE: export gone"
    assert all(issubclass(kind, NfsdError) for kind in (errors.XdrError, RecordError, RpcError, errors.Nfs3Error))
