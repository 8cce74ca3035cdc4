"""The sending half: every byte in order, and everything borrowed given back exactly once."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsd.procedures.parts import FilePart, Pooled
from nfsd.server.output import Output, Segment


class Borrowed:
    """Makes parts that count how often each was released."""

    def __init__(self, path: Path) -> None:
        self.content = os.urandom(300_000)
        path.write_bytes(self.content)
        self.fd = os.open(path, os.O_RDONLY)
        self.releases: list[int] = []

    def _release(self, number: int) -> None:
        self.releases[number] += 1

    def pooled(self, data: bytes) -> Pooled:
        number = len(self.releases)
        self.releases.append(0)
        return Pooled(memoryview(data), lambda: self._release(number))

    def file(self, offset: int, length: int) -> FilePart:
        number = len(self.releases)
        self.releases.append(0)
        return FilePart(self.fd, offset, length, lambda: self._release(number))


@pytest.fixture
def borrowed(tmp_path: Path) -> Iterator[Borrowed]:
    borrowed = Borrowed(tmp_path / "file")
    yield borrowed
    os.close(borrowed.fd)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with ours, theirs:
        yield ours, theirs


def _take(output: Output, theirs: socket.socket, count: int) -> bytes:
    taken = b""
    while len(taken) < count:
        taken += theirs.recv(count - len(taken))
        output.flush()
    return taken


def test_a_small_socket_gets_everything_in_order(borrowed: Borrowed, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    output = Output(ours)
    segments: list[Segment] = [b"head", borrowed.file(7, 200_000), b"\0", b"", borrowed.pooled(b"p" * 100_000)]
    segments += [b"x" * 20_000, borrowed.pooled(b""), borrowed.file(0, 0), b"tail", borrowed.file(250_000, 50_000)]
    wanted = b"head" + borrowed.content[7:200_007] + b"\0" + b"p" * 100_000 + b"x" * 20_000 + b"tail"
    wanted += borrowed.content[250_000:]
    output.write(segments)
    assert output.pending_bytes + output.sent_bytes == len(wanted)
    output.write_plain([b"and", b"on"])
    assert _take(output, theirs, len(wanted) + 5) == wanted + b"andon"
    assert (output.pending_bytes, output.sent_bytes) == (0, len(wanted) + 5)
    assert borrowed.releases == [1] * 5


def test_what_is_given_up_is_given_back_once(borrowed: Borrowed, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _theirs = pair
    output = Output(ours)
    output.write([borrowed.pooled(b"p" * 200_000), borrowed.file(0, 300_000), borrowed.pooled(b"q")])
    assert borrowed.releases == [0, 0, 0]
    output.discard()
    output.discard()
    assert borrowed.releases == [1, 1, 1]
    assert output.pending_bytes == 0


def test_a_file_that_shrank_keeps_its_promised_length(
    borrowed: Borrowed, pair: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    ours, theirs = pair
    output = Output(ours)
    os.truncate(tmp_path / "file", 10)
    output.write([b"head", borrowed.file(0, 50_000), b"tail"])
    assert _take(output, theirs, 50_008) == b"head" + borrowed.content[:10] + bytes(49_990) + b"tail"
    assert borrowed.releases == [1]


def test_a_broken_socket_raises_and_what_waits_can_still_be_given_back(
    borrowed: Borrowed, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    theirs.close()
    output = Output(ours)
    with pytest.raises(OSError, match="Broken pipe"):
        output.write([b"head", borrowed.file(0, 1000)])
    output.discard()
    assert borrowed.releases == [1]
