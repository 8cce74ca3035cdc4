"""What a reply is made of beside `bytes`: data that somebody else owns until it is sent.

The rule: `release` is called exactly once for each of them, by whoever sends or drops the reply. `len(part)` is its
length in bytes (the contract of `rpc.program.Body`).
"""

from __future__ import annotations

from collections.abc import Callable


class Pooled:
    """A view into a buffer that goes back to its pool."""

    __slots__ = ("data", "release")

    def __init__(self, data: memoryview, release: Callable[[], None]) -> None:
        self.data = data
        self.release = release

    def __len__(self) -> int:
        return len(self.data)

    def advance(self, count: int) -> Pooled:
        """The same without its first `count` bytes; takes over the duty to release."""
        return Pooled(self.data[count:], self.release)


class FilePart:
    """Bytes of an open file, for sendfile(2). The length was promised: a file that shrinks is padded with zeros."""

    __slots__ = ("fd", "length", "offset", "release")

    def __init__(self, fd: int, offset: int, length: int, release: Callable[[], None]) -> None:
        self.fd = fd
        self.offset = offset
        self.length = length
        self.release = release

    def __len__(self) -> int:
        return self.length

    def advance(self, count: int) -> FilePart:
        """The same without its first `count` bytes; takes over the duty to release."""
        return FilePart(self.fd, self.offset + count, self.length - count, self.release)
