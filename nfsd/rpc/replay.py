"""The duplicate request cache: a call whose reply was lost is answered again, not done again.

RFC 1813 section 4.5, after Juszczak (USENIX Winter 1989): remember what was answered to the calls that are not safe to
repeat. Which ones those are is the caller's knowledge; the others never come here.

The key is `(client, xid, prog, vers, proc, length of the arguments, user and their first bytes)`:
- client is the peer's address *without* its port: after a broken connection the client retransmits from a new one.
- An xid alone is not enough: mounts from one host share the address and each counts its own xids. The first 256 bytes
  of the arguments hold the handles and names, so two calls that share all of this ask for the same thing. They are
  kept as they are, not as a checksum: there is no false match to reason about.
- What one user of a client was answered is no answer to another's call.

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


_NEW = Seen.NEW  # looking a member up in its enumeration costs as much as looking a call up


def replay_key(
    client: object, uid: int, xid: int, prog: int, vers: int, proc: int, buf: Buffer, offset: int, end: int
) -> Key:
    """The key of the call of that user whose arguments are `buf[offset:end]`. `client` is hashable: its address without
    port."""
    head = uid.to_bytes(4, "big") + buf[offset : min(end, offset + REPLAY_ARGUMENT_BYTES_MAX)]
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

    def seen(self, key: Key, now: float) -> bytes | Seen:
        """What to do with this call: send these results again, drop it (IN_PROGRESS), or do it (NEW).

        A call that is done before another one can be looked at needs no more than this and `keep`.
        """
        in_progress = self._in_progress
        if in_progress and key in in_progress:
            return Seen.IN_PROGRESS
        done = self._done.get(key)
        if done is None:
            return _NEW
        body, at = done
        if now - at <= self._seconds_max:
            self._done.move_to_end(key)
            return body
        self._drop(key)
        return _NEW

    def begin(self, key: Key, now: float) -> bytes | Seen:
        """`seen`, for a call that is going to wait: after NEW it is in progress, and the caller owes one `finish` or
        `forget`."""
        seen = self.seen(key, now)
        if seen is _NEW and self._has_room():
            self._in_progress.add(key)
        return seen

    def finish(self, key: Key, body: bytes, now: float) -> None:
        """The call was answered with these results. Does nothing for a call that went unremembered."""
        if key in self._in_progress:
            self._in_progress.remove(key)
            self.keep(key, body, now)

    def keep(self, key: Key, body: bytes, now: float) -> None:
        """Remember the answer to a call that was NEW just now and is not in progress."""
        done = self._done
        if not self._has_room():
            return
        done[key] = (body, now)
        self._bytes += _ENTRY_BYTES + len(key[-1]) + len(body)
        while self._bytes > self._bytes_max:
            self._drop_oldest()

    def _has_room(self) -> bool:
        """For one more; the least recently used answer goes for it."""
        if len(self._done) + len(self._in_progress) < self._entries_max:
            return True
        if not self._done:
            return False
        self._drop_oldest()
        return True

    def forget(self, key: Key) -> None:
        """The call ended without an answer (cancelled, connection gone before the work): a repetition is new."""
        self._in_progress.discard(key)

    def _drop_oldest(self) -> None:
        key, (body, _) = self._done.popitem(last=False)
        self._bytes -= _ENTRY_BYTES + len(key[-1]) + len(body)

    def _drop(self, key: Key) -> None:
        body, _ = self._done.pop(key)
        self._bytes -= _ENTRY_BYTES + len(key[-1]) + len(body)
