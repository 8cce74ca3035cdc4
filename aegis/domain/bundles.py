"""The file of a bundle: images and agents for a host without a registry. Bytes to parts and back; no I/O.

A bundle is a tar archive (POSIX ustar), so that any host can look into it. Its entries are the parts, in this order:

    bundle.json@SHA256        what is in it: agents, images, runtimes
    images/000000@SHA256      the engine's own archive of all images, in parts of a few MiB; their contents one after
    images/000001@SHA256      the other are what `docker load` takes
    end.json@SHA256           how many parts and bytes came before it

The rules to know: a part's name has the checksum of its content, so each part is known to be whole before it is used,
and what is wrong is told by its part; a file without `end.json` is not whole. Nobody holds more than one part.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

FORMAT: Final = 1
PART_BYTES: Final = 4 << 20
PART_BYTES_MAX: Final = 16 << 20
PARTS_MAX: Final = 1_000_000
HEAD: Final = "bundle.json"
END: Final = "end.json"
_BLOCK: Final = tarfile.BLOCKSIZE
_NAME: Final = re.compile(r"(bundle\.json|end\.json|images/[0-9]{6})@([0-9a-f]{64})")


class Damaged(ValueError):
    """The file is not what was written; `part` is where."""

    def __init__(self, part: str, what: str) -> None:
        super().__init__(f"its part {part} {what}")
        self.part = part


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    content: bytes


class Writer:
    """The parts of one bundle, in their order: `head`, any number of `image_part`, `end`."""

    def __init__(self) -> None:
        self._parts = 0
        self._bytes = 0

    def head(self, document: dict[str, Any]) -> bytes:
        return _entry(HEAD, _json(document))

    def image_part(self, content: bytes) -> bytes:
        name = image_part_name(self._parts)
        self._parts += 1
        self._bytes += len(content)
        return _entry(name, content)

    def end(self) -> bytes:
        return _entry(END, _json({"parts": self._parts, "bytes": self._bytes})) + bytes(2 * _BLOCK)


class Reader:
    """`feed` gives the parts that have come whole, each with its checksum compared; `close` says the file has ended.
    Both raise Damaged."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._expected = HEAD
        self._parts = 0
        self._bytes = 0
        self._ended = False

    def feed(self, data: bytes) -> Iterator[Part]:
        if self._ended:  # the two empty blocks, and what tape drives pad with
            return
        self._buffer += data
        while not self._ended and (part := self._next()) is not None:
            yield part

    def close(self) -> None:
        if not self._ended:
            raise Damaged(self._expected, "is missing, or not whole: the file ends early")

    def _next(self) -> Part | None:
        if len(self._buffer) < _BLOCK:
            return None
        try:
            header = tarfile.TarInfo.frombuf(bytes(self._buffer[:_BLOCK]), "ascii", "strict")
        except (tarfile.HeaderError, ValueError) as error:
            raise Damaged(self._expected, f"does not begin as one ({error})") from None
        found = _NAME.fullmatch(header.name)
        if found is None or not 0 <= header.size <= PART_BYTES_MAX:
            raise Damaged(self._expected, f"is expected, and {header.name[:120]!r} ({header.size} bytes) is there")
        padded = -(-header.size // _BLOCK) * _BLOCK
        if len(self._buffer) < _BLOCK + padded:
            return None
        content = bytes(self._buffer[_BLOCK : _BLOCK + header.size])
        del self._buffer[: _BLOCK + padded]
        self._check(found[1], found[2], content)
        return Part(found[1], content)

    def _check(self, name: str, checksum: str, content: bytes) -> None:
        if name != self._expected and not (name == END and self._expected != HEAD):
            raise Damaged(self._expected, f"is missing: {name} follows")
        if hashlib.sha256(content).hexdigest() != checksum:
            raise Damaged(name, "has another checksum than its content")
        if name == END:
            if _counts(content) != (self._parts, self._bytes):
                raise Damaged(self._expected, "is missing, by what end.json says")
            self._ended = True
            return
        if name != HEAD:
            self._parts += 1
            self._bytes += len(content)
        if self._parts > PARTS_MAX:
            raise Damaged(name, f"is one more than the {PARTS_MAX} there may be")
        self._expected = image_part_name(self._parts)


def image_part_name(number: int) -> str:
    return f"images/{number:06}"


def _counts(content: bytes) -> tuple[object, object]:
    try:
        document = json.loads(content)
        return document["parts"], document["bytes"]
    except (ValueError, KeyError, TypeError):
        raise Damaged(END, "cannot be read") from None


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True).encode("ascii")


def _entry(name: str, content: bytes) -> bytes:
    """A function of name and content alone: no times, no owner of this machine."""
    if len(content) > PART_BYTES_MAX:
        raise ValueError(f"part {name} has {len(content)} bytes, at most {PART_BYTES_MAX} fit")
    header = tarfile.TarInfo(f"{name}@{hashlib.sha256(content).hexdigest()}")
    header.size = len(content)
    return header.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict") + content + bytes(-len(content) % _BLOCK)
