"""The duplicate request cache: a call whose reply was lost is answered again, not done again.

RFC 1813 section 4.5, after Juszczak (USENIX Winter 1989): remember what was answered to the calls that are not safe to
repeat. Which ones those are is the caller's knowledge; the others never come here.

The key is `(client, xid, prog, vers, proc, length and first bytes of the arguments)`:
- client is the peer's address *without* its port: after a broken connection the client retransmits from a new one.
- An xid alone is not enough: mounts from one host share the address and each counts its own xids. The first 256 bytes
  of the arguments hold the handles and names, so two calls that share all of this ask for the same thing. They are
  kept as they are, not as a checksum: there is no false match to reason about.

No clock and no I/O: `now` is any monotonic count of seconds.
"""

from collections import OrderedDict
from enum import Enum

from nfsd.limits import REPLAY_ARGUMENT_BYTES_MAX, REPLAY_BYTES_MAX, REPLAY_ENTRIES_MAX, REPLAY_SECONDS_MAX
from nfsd.xdr import Buffer

Key = tuple[object, int, int, int, int, int, bytes]

# Python's own cost of an entry: key tuple, ints, entry object, dictionary slot (sys.getsizeof, 3.11, rounded up).
_ENTRY_BYTES = 512


class Seen(Enum):
    """What is known of a call that has no stored answer."""

    NEW = "new"  # never seen: do it, then `finish` or `forget`
    IN_PROGRESS = "in progress"  # seen, not answered yet: drop this one, the first will answer


def replay_key(client: object, xid: int, prog: int, vers: int, proc: int, buf: Buffer, offset: int, end: int) -> Key:
    """The key of the call whose arguments are `buf[offset:end]`. `client` is hashable: its address without port."""
    head = bytes(buf[offset : min(end, offset + REPLAY_ARGUMENT_BYTES_MAX)])
    return (client, xid, prog, vers, proc, end - offset, head)


class ReplayCache:
    """Answers given to calls that must not be done twice.

    Bounded in entries, bytes and age; the least recently used answer goes first. Calls in progress are never thrown
    out; when nothing else is left, a new call goes unremembered rather than unanswered.
    """

    def __init__(
        self,
        *,
        entries_max: int = REPLAY_ENTRIES_MAX,
        bytes_max: int = REPLAY_BYTES_MAX,
        seconds_max: float = REPLAY_SECONDS_MAX,
    ) -> None:
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max
        self._done: OrderedDict[Key, tuple[bytes, float]] = OrderedDict()
        self._in_progress: set[Key] = set()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._done) + len(self._in_progress)

    @property
    def stored_bytes(self) -> int:
        """Answers, keys and what Python spends on them."""
        return self._bytes

    def begin(self, key: Key, now: float) -> bytes | Seen:
        """What to do with this call: send these results again, drop it (IN_PROGRESS), or do it (NEW).

        After NEW the caller owes one `finish` or `forget`.
        """
        if key in self._in_progress:
            return Seen.IN_PROGRESS
        done = self._done.get(key)
        if done is not None:
            body, at = done
            if now - at <= self._seconds_max:
                self._done.move_to_end(key)
                return body
            self._drop(key)
        if len(self) >= self._entries_max and self._done:
            self._drop(next(iter(self._done)))
        if len(self) < self._entries_max:
            self._in_progress.add(key)
        return Seen.NEW

    def finish(self, key: Key, body: bytes, now: float) -> None:
        """The call was answered with these results. Does nothing for a call that went unremembered."""
        if key not in self._in_progress:
            return
        self._in_progress.remove(key)
        self._done[key] = (body, now)
        self._bytes += _cost(key, body)
        while self._bytes > self._bytes_max:
            self._drop(next(iter(self._done)))

    def forget(self, key: Key) -> None:
        """The call ended without an answer (cancelled, connection gone before the work): a repetition is new."""
        self._in_progress.discard(key)

    def _drop(self, key: Key) -> None:
        body, _ = self._done.pop(key)
        self._bytes -= _cost(key, body)


def _cost(key: Key, body: bytes) -> int:
    return _ENTRY_BYTES + len(key[-1]) + len(body)
