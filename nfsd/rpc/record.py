"""Record marking over a byte stream (RFC 5531 section 11), in place.

A record is one or more fragments; each begins with a mark of four bytes: the top bit says "last", the rest is the
length. `RecordBuffer` is the receive buffer of one connection and finds the records in it without copying:

    n = sock.recv_into(records.space())
    for buf, start, end in records.feed(n):
        ...                                     # buf[start:end] is a record

The rules:
- A record is valid until the next `space()`. Who needs its bytes longer copies them: a reply that has to wait must
  not hold the whole buffer (`rpc.program.Pending`).
- Limits are met on the mark, before memory is spent on what it announces; then `RecordError`, and the stream is lost.
- An idle connection holds `RECEIVE_BYTES_IDLE`. A record that does not fit gets a large buffer, and only once the
  peer has really sent the first `RECEIVE_BYTES_IDLE` bytes of it; the large buffer goes back to the shared pool as soon
  as its record has been dealt with. It is filled up to that record's end and never beyond, so nothing is ever moved
  behind a large record and the next one starts at 0.
"""

import struct

from nfsd.errors import RecordError
from nfsd.limits import (
    RECEIVE_BUFFERS_SPARE_MAX,
    RECEIVE_BYTES_IDLE,
    RECORD_BYTES_MAX,
    RECORD_FRAGMENTS_MAX,
)

LAST_FRAGMENT = 0x80000000
MARK_BYTES = 4

Record = tuple[bytearray, int, int]
"""`(buf, start, end)`: the record is `buf[start:end]`, its marks not included."""

_MARK = struct.Struct(">I")


def marked_record(buf: bytearray, start: int, end: int) -> bytes:
    """The record `buf[start:end]` as it goes over a stream: in one fragment."""
    return _MARK.pack(LAST_FRAGMENT | end - start) + memoryview(buf)[start:end]


class BufferPool:
    """Spare large receive buffers, shared by the connections of a server.

    Fresh memory costs a page fault every 4 KiB, a quarter of the time of a 1 MiB WRITE. At most `spare_max` buffers are
    kept; what is given back beyond that is freed.
    """

    def __init__(
        self, buffer_bytes: int = MARK_BYTES + RECORD_BYTES_MAX, spare_max: int = RECEIVE_BUFFERS_SPARE_MAX
    ) -> None:
        self.buffer_bytes = buffer_bytes
        self._spare_max = spare_max
        self._spare: list[bytearray] = []

    def take(self) -> bytearray:
        return self._spare.pop() if self._spare else bytearray(self.buffer_bytes)

    def give(self, buffer: bytearray) -> None:
        """Take back a buffer nobody looks at any more. Buffers of another size are accepted and dropped."""
        if len(buffer) == self.buffer_bytes and len(self._spare) < self._spare_max:
            self._spare.append(buffer)


class RecordBuffer:
    """The receive buffer of one connection. Not for two at once; owns no descriptor."""

    __slots__ = (
        "_buf", "_fragments", "_joined", "_pool", "_record_bytes_max", "_room", "_scanned", "_small", "_wanted",
        "_written",
    )  # fmt: skip

    def __init__(
        self,
        pool: BufferPool | None = None,
        *,
        idle_bytes: int = RECEIVE_BYTES_IDLE,
        record_bytes_max: int | None = None,
    ) -> None:
        """`pool` is shared between connections; its buffers must hold a mark and `record_bytes_max` bytes (None:
        what they hold, or `RECORD_BYTES_MAX` without a pool)."""
        if record_bytes_max is None:
            record_bytes_max = RECORD_BYTES_MAX if pool is None else pool.buffer_bytes - MARK_BYTES
        self._pool = BufferPool(MARK_BYTES + record_bytes_max) if pool is None else pool
        if self._pool.buffer_bytes < MARK_BYTES + record_bytes_max:
            raise ValueError(f"pool buffers of {self._pool.buffer_bytes} bytes cannot hold a record")
        self._record_bytes_max = record_bytes_max
        self._small = bytearray(idle_bytes)
        self._buf = self._small
        self._scanned = 0  # everything before has been handed out
        self._written = 0  # everything before has been received
        self._wanted = 0  # length of the incomplete fragment at _scanned with its mark; 0: the mark is not there yet
        self._room = 0  # length of the last space()
        self._joined: bytearray | None = None  # earlier fragments of the record under way
        self._fragments = 0

    def space(self) -> memoryview:
        """Where to receive next; never empty. Ends the life of all records handed out so far."""
        scanned, written = self._scanned, self._written
        if scanned == written:
            scanned = written = 0
            if self._buf is not self._small:
                self._pool.give(self._buf)
                self._buf = self._small
        elif scanned and max(self._wanted, MARK_BYTES) > len(self._buf) - scanned:
            written -= scanned
            self._buf[:written] = self._buf[scanned : scanned + written]
            scanned = 0
        if written == len(self._buf):
            large = self._pool.take()
            large[:written] = self._buf
            self._buf = large
        self._scanned, self._written = scanned, written
        view = memoryview(self._buf)
        space = view[written:] if self._buf is self._small else view[written : scanned + self._wanted]
        self._room = len(space)
        return space

    def feed(self, count: int) -> list[Record]:
        """`count` bytes were received into the last `space()`: the records that are complete now, oldest first.

        Raises `RecordError` when the stream breaks a limit; records before the broken one are lost with it (the peer
        that sends such a stream gets no answers). `count` may be 0.
        """
        if not 0 <= count <= self._room:
            raise ValueError(f"{count} bytes cannot have been received into a space of {self._room}")
        self._room = 0
        self._written = written = self._written + count
        position = self._scanned
        if self._wanted > written - position:
            return []  # a large record is under way: nothing to look at before its last byte
        buf = self._buf
        records: list[Record] = []
        self._wanted = 0
        while written - position >= MARK_BYTES:
            (mark,) = _MARK.unpack_from(buf, position)
            start = position + MARK_BYTES
            end = start + (mark & ~LAST_FRAGMENT)
            self._check(end - start)
            if end > written:
                self._wanted = end - position
                break
            if mark & LAST_FRAGMENT and self._joined is None:
                records.append((buf, start, end))
            else:
                self._join(start, end, mark & LAST_FRAGMENT, records)
            position = end
        self._scanned = position
        return records

    @property
    def buffered_bytes(self) -> int:
        """Bytes received that are not part of a record handed out; 0 between two records."""
        return self._written - self._scanned + (len(self._joined) if self._joined is not None else 0)

    def rest(self) -> bytes:
        """What was received and belongs to no record handed out, as a stream that another `RecordBuffer` takes up: the
        fragments of the record under way become one."""
        raw = bytes(memoryview(self._buf)[self._scanned : self._written])
        if self._joined is None:
            return raw
        return _MARK.pack(len(self._joined)) + self._joined + raw

    @property
    def held_bytes(self) -> int:
        """Memory this connection's receiving side holds."""
        large = 0 if self._buf is self._small else len(self._buf)
        return len(self._small) + large + (len(self._joined) if self._joined is not None else 0)

    def _check(self, length: int) -> None:
        total = length + (len(self._joined) if self._joined is not None else 0)
        if total > self._record_bytes_max:
            raise RecordError(f"a record of at least {total} bytes is announced, the limit is {self._record_bytes_max}")

    def _join(self, start: int, end: int, last: int, records: list[Record]) -> None:
        """The slow path: a fragment of a record of several."""
        if self._joined is None:
            self._joined = bytearray()
        self._fragments += 1
        if self._fragments > RECORD_FRAGMENTS_MAX:
            raise RecordError(f"a record has more than {RECORD_FRAGMENTS_MAX} fragments")
        self._joined += memoryview(self._buf)[start:end]
        if last:
            records.append((self._joined, 0, len(self._joined)))
            self._joined = None
            self._fragments = 0
