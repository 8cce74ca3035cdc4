"""Record marking: any cut of the stream yields the same records, in bounded memory."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nfsd.errors import RecordError
from nfsd.limits import RECEIVE_BYTES_IDLE, RECORD_BYTES_MAX, RECORD_FRAGMENTS_MAX
from nfsd.rpc.record import LAST_FRAGMENT, BufferPool, RecordBuffer

IDLE, MAXIMUM = 32, 200


def fragments(*parts: bytes) -> bytes:
    """One record, a fragment for each part."""
    marks = [len(part) for part in parts]
    marks[-1] |= LAST_FRAGMENT
    return b"".join(struct.pack(">I", mark) + part for mark, part in zip(marks, parts, strict=True))


def deliver(records: RecordBuffer, stream: bytes, cuts: list[int] | None = None) -> list[bytes]:
    """Receive `stream` as a socket would give it: at the most what was asked for, at the most up to the next cut."""
    found = []
    for start, end in pairwise(sorted({0, len(stream), *(cuts or [])})):
        piece = stream[start:end]
        while piece:
            space = records.space()
            assert len(space) > 0
            count = min(len(space), len(piece))
            space[:count] = piece[:count]
            space.release()
            piece = piece[count:]
            found += [bytes(buf[start:end]) for buf, start, end in records.feed(count)]
    return found


def small() -> RecordBuffer:
    return RecordBuffer(idle_bytes=IDLE, record_bytes_max=MAXIMUM)


contents = some.lists(
    some.lists(some.binary(max_size=60), min_size=1, max_size=3).filter(lambda parts: sum(map(len, parts)) <= MAXIMUM),
    max_size=8,
)


@given(contents, some.lists(some.integers(0, 600), max_size=12))
def test_any_cut_of_the_stream_yields_the_same_records(parts: list[list[bytes]], cuts: list[int]) -> None:
    stream = b"".join(fragments(*record) for record in parts)
    records = small()
    inside = [cut for cut in cuts if cut < len(stream)]
    assert deliver(records, stream, inside) == [b"".join(record) for record in parts]
    assert records.buffered_bytes == 0


@given(some.lists(some.binary(max_size=MAXIMUM), min_size=1, max_size=6), some.data())
def test_a_record_of_one_fragment_is_never_copied_once_it_is_whole(bodies: list[bytes], data: some.DataObject) -> None:
    records = small()
    stream = b"".join(fragments(body) for body in bodies)
    while stream:
        space = records.space()
        count = data.draw(some.integers(1, min(len(space), len(stream))))
        space[:count] = stream[:count]
        stream = stream[count:]
        for buf, _, _ in records.feed(count):
            assert buf is space.obj


def test_an_empty_record_is_a_record() -> None:
    assert deliver(small(), fragments(b"") + fragments(b"a")) == [b"", b"a"]


def test_the_largest_record_passes_and_one_byte_more_does_not() -> None:
    assert deliver(small(), fragments(bytes(MAXIMUM))) == [bytes(MAXIMUM)]
    with pytest.raises(RecordError, match="a record of at least 201 bytes is announced, the limit is 200"):
        deliver(small(), fragments(bytes(MAXIMUM + 1)))


def test_the_limit_holds_for_the_sum_of_fragments() -> None:
    half = bytes(MAXIMUM // 2)
    assert deliver(small(), fragments(half, half)) == [half + half]
    with pytest.raises(RecordError, match="the limit is 200"):
        deliver(small(), fragments(half, half, b"x"))


@pytest.mark.parametrize("mark", [0x7FFFFFFF, 0xFFFFFFFF, MAXIMUM + 1])
def test_an_announcement_over_the_limit_spends_no_memory(mark: int) -> None:
    records = small()
    with pytest.raises(RecordError):
        deliver(records, struct.pack(">I", mark))
    assert records.held_bytes == IDLE


def test_a_large_record_takes_memory_only_when_its_first_bytes_have_come() -> None:
    records = RecordBuffer()
    stream = fragments(bytes(RECORD_BYTES_MAX))
    deliver(records, stream[: RECEIVE_BYTES_IDLE - 1])
    assert records.held_bytes == RECEIVE_BYTES_IDLE


def test_a_large_record_leaves_nothing_behind() -> None:
    records = RecordBuffer()
    assert len(deliver(records, fragments(bytes(RECORD_BYTES_MAX)))) == 1
    records.space().release()
    assert records.held_bytes == RECEIVE_BYTES_IDLE


def test_nothing_is_received_behind_a_large_record() -> None:
    records = small()
    stream = fragments(bytes(100)) + fragments(b"next")
    deliver(records, stream[:IDLE])
    assert len(records.space()) == 104 - IDLE


def test_a_large_buffer_is_used_again() -> None:
    pool = BufferPool(4 + MAXIMUM, spare_max=1)
    first, second = (RecordBuffer(pool, idle_bytes=IDLE, record_bytes_max=MAXIMUM) for _ in range(2))
    used = []
    for records in (first, second):
        deliver(records, fragments(bytes(100))[:-1])
        space = records.space()
        used.append(space.obj)
        space[:1] = b"\0"
        assert len(records.feed(1)) == 1
        records.space().release()
    assert used[0] is used[1]


def test_the_pool_keeps_no_more_than_its_bound_and_no_other_sizes() -> None:
    pool = BufferPool(64, spare_max=1)
    kept, dropped = bytearray(64), bytearray(64)
    pool.give(bytearray(32))
    pool.give(kept)
    pool.give(dropped)
    assert pool.take() is kept
    assert pool.take() is not dropped


def test_fragments_without_end_are_refused() -> None:
    records = small()
    empty = struct.pack(">I", 0)
    assert deliver(records, empty * RECORD_FRAGMENTS_MAX) == []
    with pytest.raises(RecordError, match=f"more than {RECORD_FRAGMENTS_MAX} fragments"):
        deliver(records, empty)


def test_a_record_of_many_fragments_passes_again_after_another() -> None:
    many = fragments(*[b"x"] * 100)
    assert deliver(small(), many * 20) == [b"x" * 100] * 20


def test_feeding_more_than_the_space_is_our_own_mistake() -> None:
    records = small()
    room = len(records.space())
    with pytest.raises(ValueError, match="cannot have been received"):
        records.feed(room + 1)


def test_a_pool_that_cannot_hold_a_record_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot hold a record"):
        RecordBuffer(BufferPool(100), record_bytes_max=100)
