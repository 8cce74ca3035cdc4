"""MOUNT version 3 against vectors made by hand from RFC 1813 appendix I."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nfsd.errors import XdrError
from nfsd.mount3.types import (
    Exportnode,
    Exports,
    Mountbody,
    MountList,
    Mountres3,
    Mountres3Ok,
    Mountstat3,
    decode_dirpath,
)
from nfsd.xdr import Struct

VECTORS: list[tuple[Mountres3 | Struct, str]] = [
    (
        Mountres3(Mountstat3.MNT3_OK, Mountres3Ok(b"handle", (1,))),
        "00000000 00000006 68616e646c650000 00000001 00000001",
    ),
    (Mountres3(Mountstat3.MNT3ERR_NOENT), "00000002"),
    (
        MountList((Mountbody(b"box", b"/t/v"), Mountbody(b"a", b"/"))),
        "00000001 00000003 626f7800 00000004 2f742f76 00000001 00000001 61000000 00000001 2f000000 00000000",
    ),
    (MountList(()), "00000000"),
    (
        Exports((Exportnode(b"/t/v"), Exportnode(b"/u", (b"box",)))),
        "00000001 00000004 2f742f76 00000000 00000001 00000002 2f750000 00000001 00000003 626f7800 00000000 00000000",
    ),
]


@pytest.mark.parametrize(("value", "words"), VECTORS)
def test_values_are_the_words_of_the_rfc(value: Mountres3 | Struct, words: str) -> None:
    assert bytes(value) == bytes.fromhex(words)
    assert type(value).from_bytes(bytes.fromhex(words)) == value


@pytest.mark.parametrize("kind", [Mountres3, MountList, Exports])
@given(data=some.binary(max_size=80))
def test_any_bytes_decode_or_raise_xdr_error(kind: type[Mountres3] | type[MountList], data: bytes) -> None:
    try:
        value = kind.from_bytes(data)
    except XdrError:
        return
    assert kind.from_bytes(bytes(value)) == value


def test_a_path_over_1024_bytes_is_undecodable() -> None:
    path = b"/" + b"x" * 1023
    call = (1024).to_bytes(4, "big") + path
    assert decode_dirpath(call, 0, len(call)) == path
    call = (1025).to_bytes(4, "big") + path + b"xyz\0"
    with pytest.raises(XdrError, match="at most 1024 bytes"):
        decode_dirpath(call, 0, len(call))
