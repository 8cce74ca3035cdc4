"""The plain codec against RFC 4506 and against xdrlib3, which Python carried for twenty years."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any

import pytest
import xdrlib3
from hypothesis import given
from hypothesis import strategies as some

from nfsd.errors import XdrError
from nfsd.xdr import UINT32, Array, Chain, Nested, Opaque, Optional, Packer, Struct, Unpacker

uint32s = some.integers(0, 2**32 - 1)
uint64s = some.integers(0, 2**64 - 1)


class Colour(IntEnum):
    RED = 2
    YELLOW = 3


@dataclass(frozen=True, slots=True)
class Pair(Struct):
    left: Annotated[int, UINT32]
    right: Colour


@dataclass(frozen=True, slots=True)
class Sample(Struct):
    pair: Pair
    maybe: Annotated[Pair | None, Optional(Nested(Pair))]
    name: Annotated[bytes, Opaque(5)]
    counted: Annotated[tuple[int, ...], Array(UINT32, 3)]
    linked: Annotated[tuple[int, ...], Chain(UINT32, 3)]


SAMPLE = Sample(Pair(1, Colour.RED), Pair(2, Colour.YELLOW), b"abcde", (7, 8), (9,))
SAMPLE_BYTES = bytes.fromhex(
    "00000001 00000002"  # pair
    "00000001 00000002 00000003"  # maybe
    "00000005 6162636465 000000"  # name, three bytes of padding
    "00000002 00000007 00000008"  # counted
    "00000001 00000009 00000000"  # linked
)


@given(uint32s, some.integers(-(2**31), 2**31 - 1), uint64s, some.booleans(), some.binary(max_size=40))
def test_packer_writes_what_xdrlib_writes(a: int, b: int, c: int, d: bool, e: bytes) -> None:
    packer, oracle = Packer(), xdrlib3.Packer()
    packer.uint32(a), oracle.pack_uint(a)
    packer.int32(b), oracle.pack_int(b)
    packer.uint64(c), oracle.pack_uhyper(c)
    packer.bool(d), oracle.pack_bool(d)
    packer.opaque(e), oracle.pack_opaque(e)
    packer.opaque_fixed(e, len(e)), oracle.pack_fopaque(len(e), e)
    packer.array(packer.uint32, [a, a]), oracle.pack_array([a, a], oracle.pack_uint)
    packer.chain(packer.uint32, [a, a]), oracle.pack_list([a, a], oracle.pack_uint)
    assert bytes(packer) == oracle.get_buffer()


@given(uint32s, some.integers(-(2**31), 2**31 - 1), uint64s, some.booleans(), some.binary(max_size=40))
def test_unpacker_reads_what_xdrlib_writes(a: int, b: int, c: int, d: bool, e: bytes) -> None:
    oracle = xdrlib3.Packer()
    oracle.pack_uint(a)
    oracle.pack_int(b)
    oracle.pack_uhyper(c)
    oracle.pack_bool(d)
    oracle.pack_opaque(e)
    oracle.pack_fopaque(len(e), e)
    oracle.pack_array([a, a], oracle.pack_uint)
    oracle.pack_list([a, a], oracle.pack_uint)
    unpacker = Unpacker(oracle.get_buffer())
    assert (unpacker.uint32(), unpacker.int32(), unpacker.uint64(), unpacker.bool()) == (a, b, c, d)
    assert (unpacker.opaque(), unpacker.opaque_fixed(len(e))) == (e, e)
    assert (unpacker.array(unpacker.uint32, 2), unpacker.chain(unpacker.uint32, 2)) == ([a, a], [a, a])
    unpacker.done()


def test_struct_is_its_fields_in_order() -> None:
    assert bytes(SAMPLE) == SAMPLE_BYTES
    assert Sample.from_bytes(SAMPLE_BYTES) == SAMPLE


@pytest.mark.parametrize("length", range(len(SAMPLE_BYTES)))
def test_every_truncation_is_an_xdr_error(length: int) -> None:
    with pytest.raises(XdrError):
        Sample.from_bytes(SAMPLE_BYTES[:length])


def test_what_is_left_over_is_refused_by_from_bytes() -> None:
    with pytest.raises(XdrError, match="4 bytes are left"):
        Sample.from_bytes(SAMPLE_BYTES + bytes(4))


@given(some.binary(max_size=80))
def test_any_bytes_decode_or_raise_xdr_error(data: bytes) -> None:
    try:
        value = Sample.from_bytes(data)
    except XdrError:
        return
    assert Sample.from_bytes(bytes(value)) == value


def test_unpacker_never_looks_beyond_its_end() -> None:
    buf = b"\xff" * 4 + b"\0\0\0\1" + b"\0\0\0\2"
    unpacker = Unpacker(buf, 4, 8)
    assert unpacker.uint32() == 1
    with pytest.raises(XdrError, match="at byte 8: wanted unsigned int of 4 bytes, 0 are left"):
        unpacker.uint32()


def test_padding_must_be_there_but_may_be_anything() -> None:
    assert Unpacker(b"\0\0\0\1A\xff\xff\xff").opaque() == b"A"
    with pytest.raises(XdrError):
        Unpacker(b"\0\0\0\1A\0\0").opaque()


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ([2], lambda unpacker: unpacker.bool()),
        ([0xFFFFFFFF], lambda unpacker: unpacker.bool()),
        ([1], lambda unpacker: unpacker.enum(Colour)),
        ([6, 0, 0], lambda unpacker: unpacker.opaque(5)),
        ([3, 1, 1, 1], lambda unpacker: unpacker.array(unpacker.uint32, 2)),
        ([1, 1, 1, 1, 1, 1, 0], lambda unpacker: unpacker.chain(unpacker.uint32, 2)),
    ],
    ids=["bool 2", "bool -1", "enum", "opaque", "array", "chain"],
)
def test_values_outside_their_range_are_refused(words: list[int], read: Callable[[Unpacker], Any]) -> None:
    with pytest.raises(XdrError):
        read(Unpacker(b"".join(word.to_bytes(4, "big") for word in words)))


def test_an_announced_length_spends_no_memory() -> None:
    unpacker = Unpacker(b"\xff\xff\xff\xff" + bytes(8))
    with pytest.raises(XdrError, match="opaque of 4294967296 bytes, 8 are left"):
        unpacker.opaque()
    unpacker = Unpacker(b"\xff\xff\xff\xff" + bytes(8))
    with pytest.raises(XdrError, match="at most 16 elements"):
        unpacker.array(unpacker.uint32, 16)


def test_our_own_mistakes_are_not_xdr_errors() -> None:
    with pytest.raises(ValueError, match=r"opaque\[8\] cannot hold 3 bytes"):
        Packer().opaque_fixed(b"abc", 8)
