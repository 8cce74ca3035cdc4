"""The file of a bundle: any cut of it gives the same parts, and whatever is done to it is told, by the part."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.domain import bundles
from aegis.domain.bundles import Damaged, Part, Reader, Writer

HEAD = {"format": 1, "agents": []}


def entries(*contents: bytes) -> list[bytes]:
    writer = Writer()
    return [writer.head(HEAD), *map(writer.image_part, contents), writer.end()]


def read(data: bytes, *cuts: int) -> list[Part]:
    reader, parts, at = Reader(), [], 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        parts += reader.feed(data[at:cut])
        at = cut
    reader.close()
    return parts


FILE = b"".join(entries(b"one" * 300, b"", b"three"))
PARTS = read(FILE)


def test_what_was_written_is_read() -> None:
    assert [part.name for part in PARTS] == [
        bundles.HEAD,
        "images/000000",
        "images/000001",
        "images/000002",
        "end.json",
    ]
    assert [part.content for part in PARTS[1:4]] == [b"one" * 300, b"", b"three"]


def test_it_is_a_tar_archive_to_anybody_else() -> None:
    with tarfile.open(fileobj=io.BytesIO(FILE)) as tar:
        assert [name.partition("@")[0] for name in tar.getnames()] == [part.name for part in PARTS]
        member = tar.extractfile(tar.getnames()[3])
        assert member is not None
        assert member.read() == b"three"


def test_the_same_contents_are_the_same_file() -> None:
    assert b"".join(entries(b"one" * 300, b"", b"three")) == FILE


@given(st.lists(st.integers(min_value=0), max_size=8))
def test_any_cut_gives_the_same_parts(cuts: list[int]) -> None:
    assert read(FILE, *cuts) == PARTS


@given(st.integers(min_value=0, max_value=len(FILE) - 1), st.integers(min_value=1, max_value=255))
def test_a_changed_byte_is_told_or_changes_nothing(at: int, change: int) -> None:
    damaged = bytearray(FILE)
    damaged[at] ^= change
    try:
        assert read(bytes(damaged)) == PARTS  # padding
    except Damaged as damage:
        assert damage.part in {*(part.name for part in PARTS), "images/000003"}  # which might have come next


@given(st.integers(min_value=0, max_value=len(FILE) - 2 * tarfile.BLOCKSIZE - 1))
def test_a_file_that_ends_early_is_not_whole(size: int) -> None:
    with pytest.raises(Damaged, match="is missing, or not whole"):
        read(FILE[:size])


@pytest.mark.parametrize(
    ("order", "part", "what"),
    [
        ([1, 0, 2, 3, 4], "bundle.json", "is missing: images/000000 follows"),
        ([0, 2, 3, 4], "images/000000", "is missing: images/000001 follows"),
        ([0, 1, 3, 2, 4], "images/000001", "is missing: images/000002 follows"),
        ([0, 1, 1, 2, 3, 4], "images/000001", "is missing: images/000000 follows"),
        ([0, 1, 2, 4], "images/000002", "is missing, by what end.json says"),
        ([0, 1, 2, 3], "images/000003", "is missing, or not whole: the file ends early"),
        ([4], "bundle.json", "is missing: end.json follows"),
    ],
)
def test_parts_that_are_not_all_there_in_order_are_told(order: list[int], part: str, what: str) -> None:
    every = entries(b"one", b"two", b"three")
    with pytest.raises(Damaged, match=what) as caught:
        read(b"".join(every[index] for index in order))
    assert caught.value.part == part


def test_another_tar_archive_is_told_by_what_it_has_instead() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("manifest.json"))
    with pytest.raises(Damaged, match=r"bundle\.json is expected, and 'manifest\.json' \(0 bytes\) is there"):
        read(buffer.getvalue())


@given(st.binary(max_size=3000))
def test_any_bytes_are_damaged_and_nothing_else(data: bytes) -> None:
    with pytest.raises(Damaged):
        read(data)


def test_a_part_that_says_it_is_huge_is_refused_before_it_is_read() -> None:
    header = tarfile.TarInfo(f"bundle.json@{'0' * 64}")
    header.size = bundles.PART_BYTES_MAX + 1
    with pytest.raises(Damaged, match="is expected"):
        list(Reader().feed(header.tobuf(tarfile.USTAR_FORMAT)))
