"""The answers to calls that must not be done twice, kept beyond the death of the process.

A client whose server was killed sends again what was not answered, with the same xid. What was done just before the end
would be done again: a REMOVE would find nothing, a MKDIR its own directory, and the program would be told of an error
that never was. So each answer is also written here, and read back at the start.

The file (`MappedFile`) need not survive the host, whose end is the end of its clients too. Two halves take turns:
entries are appended to one, and when it is full the other, which holds the older ones, is begun anew.

    half:   8 generation (0: never used) | entries | 4 zero
    behind the two, once: an entry for the call that is being worked on at this moment
    entry:  4 length of what follows | 4 CRC-32 of the rest | 8 time (seconds since 1970) | 4 xid, prog, vers, proc
            | 4 bytes of arguments | 2 length of the client's address | 2 length of the arguments' head
            | 4 length of the answer, 0xffffffff: none yet | the three

The rule: an entry's length is written last, so what a kill cut short is not there.
"""

from __future__ import annotations

import logging
import struct
import time
import zlib
from pathlib import Path

from nfsd.limits import REPLAY_BYTES_MAX
from nfsd.procedures.replayed import Kept
from nfsd.rpc.replay import Key
from nfsd.vfs.mapped_file import MappedFile

log = logging.getLogger("nfsd")

HALF_BYTES = REPLAY_BYTES_MAX // 2
_NOW_AT, _NOW_BYTES = 2 * HALF_BYTES, 1024
FILE_BYTES = 2 * HALF_BYTES + _NOW_BYTES
_GENERATION = struct.Struct(">Q")
_LENGTH = struct.Struct(">I")
_HEAD = struct.Struct(">d5IHHI")
_CRC = struct.Struct(">I")
_GENERATION_MAX = 1 << 62
_NO_ANSWER = 0xFFFFFFFF
_END = bytes(_LENGTH.size)
_FRAME_BYTES = 2 * _LENGTH.size + _CRC.size
"""What an entry has beside its content: its length, its checksum, and the zero behind it."""

_pack_word = _LENGTH.pack_into
_pack_head = _HEAD.pack


class ReplayFile:
    """An `nfsd.procedures.replayed.Journal`. One process at a time has it; `close` when it is done with."""

    def __init__(self, path: Path) -> None:
        """Open the file, made when missing. OSError: it cannot be made (no room for its 4 MiB), or another process has
        it (BlockingIOError)."""
        self._file = MappedFile(path, FILE_BYTES)
        self._map = self._file.map
        self._kept: list[Kept] = []
        self._half = self._at = 0
        self._client: object = None
        self._address = b""
        self._read()

    def _generation(self, half: int) -> int:
        """0 also for what was never a generation of ours."""
        (generation,) = _GENERATION.unpack_from(self._map, half * HALF_BYTES)
        return int(generation) if generation <= _GENERATION_MAX else 0

    def recovered(self) -> list[Kept]:
        """What an earlier process left, oldest first."""
        return self._kept

    # ---- reading ----

    def _read(self) -> None:
        """Take in what is there, and be ready to go on behind it."""
        now = time.time()
        for half in sorted((0, 1), key=self._generation):
            self._half, self._at = half, half * HALF_BYTES + _GENERATION.size
            if self._generation(half):
                self._read_half(now)
        if not self._generation(self._half):
            self._switch()
        last = self._entry(_NOW_AT, FILE_BYTES, now)
        if last is not None and all(kept.key != last[0].key for kept in self._kept):
            self._kept.append(last[0]._replace(executed=False))

    def _read_half(self, now: float) -> None:
        """Up to the first entry that is not whole: the end, or what is left of an older generation."""
        end = (self._half + 1) * HALF_BYTES
        while (entry := self._entry(self._at, end, now)) is not None:
            kept, self._at = entry
            self._kept.append(kept)

    def _entry(self, at: int, end: int, now: float) -> tuple[Kept, int] | None:
        """The entry at this place, and where the next one begins."""
        start = at + _LENGTH.size
        if start > end:
            return None
        (length,) = _LENGTH.unpack_from(self._map, at)
        if length < _CRC.size + _HEAD.size or start + length > end:
            return None
        (crc,) = _CRC.unpack_from(self._map, start)
        content = self._map[start + _CRC.size : start + length]
        kept = _decoded(content, now) if zlib.crc32(content) == crc else None
        return None if kept is None else (kept, start + length)

    # ---- writing ----

    def intended(self, key: Key) -> None:
        """This call is about to have its effect. One at a time: the next one takes its place."""
        content = self._encoded(key, None)
        if _FRAME_BYTES + len(content) <= _NOW_BYTES:
            _pack_word(self._map, _NOW_AT, 0)
            self._write(_NOW_AT, content)

    def begun(self, key: Key) -> None:
        """This call has had its effect and has no answer yet."""
        self._append(key, None)

    def done(self, key: Key, body: bytes) -> None:
        """This is the call's answer."""
        self._append(key, body)

    def _append(self, key: Key, body: bytes | None) -> None:
        content = self._encoded(key, body)
        needed = _FRAME_BYTES + len(content)
        if self._at + needed > (self._half + 1) * HALF_BYTES:
            if needed > HALF_BYTES // 8:
                return  # no answer of ours is so long; it would throw out hundreds of others
            self._switch()
        self._at = self._write(self._at, content)

    def _write(self, at: int, content: bytes) -> int:
        """An entry, its length last, where a zero is until then; where the next one begins."""
        mapped, begin = self._map, at + _LENGTH.size + _CRC.size
        end = begin + len(content)
        _pack_word(mapped, begin - _CRC.size, zlib.crc32(content))
        mapped[begin:end] = content
        _pack_word(mapped, end, 0)
        _pack_word(mapped, at, end - at - _LENGTH.size)
        return end

    def _encoded(self, key: Key, body: bytes | None) -> bytes:
        client, xid, prog, vers, proc, arguments_bytes, head = key
        if client is not self._client:  # calls come in runs of one client's
            self._client, self._address = client, str(client).encode()
        address = self._address
        fields = _pack_head(
            time.time(), xid, prog, vers, proc, arguments_bytes, len(address), len(head),
            _NO_ANSWER if body is None else len(body),
        )  # fmt: skip
        return b"".join((fields, address, head, body or b""))

    def _switch(self) -> None:
        """Begin the other half anew: its old entries are gone first, then it is the younger one."""
        generation = max(self._generation(0), self._generation(1)) + 1
        self._half = 1 - self._half
        start = self._half * HALF_BYTES
        self._at = start + _GENERATION.size
        self._map[self._at : self._at + len(_END)] = _END
        _GENERATION.pack_into(self._map, start, generation)

    def close(self) -> None:
        """Nothing is lost by it. Safe to call twice."""
        self._file.close()


def open_replay_file(path: Path | None) -> ReplayFile | None:
    """The file, or None and a warning: to serve without it is better than not to serve."""
    if path is None:
        return None
    try:
        return ReplayFile(path)
    except BlockingIOError:
        log.warning("%s is another server's; answers of this one will not be known to the next", path)
    except OSError as error:
        log.warning("%s cannot be used (%s); answers of this server will not be known to the next", path, error)
    return None


def _decoded(content: bytes, now: float) -> Kept | None:
    """None when the lengths do not add up: another version's file."""
    at, xid, prog, vers, proc, arguments_bytes, address_bytes, head_bytes, size = _HEAD.unpack_from(content)
    body_at = _HEAD.size + address_bytes + head_bytes
    if body_at + (0 if size == _NO_ANSWER else size) != len(content):
        return None
    address = content[_HEAD.size : _HEAD.size + address_bytes].decode("utf-8", "replace")
    head = content[_HEAD.size + address_bytes : body_at]
    key = (address, xid, prog, vers, proc, arguments_bytes, head)
    return Kept(key, None if size == _NO_ANSWER else content[body_at:], max(0.0, now - at))
