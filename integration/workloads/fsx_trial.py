"""One trial: the file under test, what it should hold, and the operations that change both.

An operation draws its arguments from the trial's random numbers and nowhere else, never from what the file system
answered, so a seed gives the same operations again. It says in one line what it does before it does it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from integration.workloads.fsx_hands import DIRECT_BYTES, Elsewhere, Hands

SIZE_MAX = 160 << 10
PIECE_MAX = 48 << 10


@dataclass
class Trial:
    """`hands` are those that may touch the file; `model` is what it holds; `log` what was done, a line each."""

    random: random.Random
    path: str
    hands: Sequence[Hands | Elsewhere]
    remount: Callable[[], None]
    drop_caches: Callable[[], None]
    model: bytearray = field(default_factory=bytearray)
    kept: list[int] = field(default_factory=list)
    """How much each hand has mapped and kept; 0: nothing."""
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kept = [0] * len(self.hands)

    def say(self, what: str) -> None:
        self.log.append(f"{len(self.log)}: {what}")

    def open(self) -> None:
        for each in self.hands:
            each.open()

    def close(self) -> None:
        for number, each in enumerate(self.hands):
            each.close()
            self.kept[number] = 0

    # ---- draws ----

    def hand(self, what: str) -> Hands | Elsewhere:
        """Any one; `what` goes into the log with its number."""
        number = self.random.randrange(len(self.hands))
        self.say(f"[{number}] {what}")
        return self.hands[number]

    def room(self, step: int = 1) -> tuple[int, int]:
        """(offset, size) of something new: within the file, across its end, or behind it."""
        size = self.random.randrange(1, PIECE_MAX // step + 1) * step
        limit = SIZE_MAX - size
        if self.random.random() < 0.7:  # mostly near what is there, or the file would be at its largest for ever
            limit = min(limit, len(self.model) + 2 * DIRECT_BYTES)
        return self.random.randrange(limit // step + 1) * step, size

    def part(self) -> tuple[int, int]:
        """(offset, size) of something that is there; (0, 0) in an empty file."""
        if not self.model:
            return 0, 0
        offset = self.random.randrange(len(self.model))
        return offset, self.random.randrange(1, min(PIECE_MAX, len(self.model) - offset) + 1)

    def data(self, size: int) -> bytes:
        return self.random.randbytes(size)

    # ---- the model ----

    def put(self, offset: int, data: bytes) -> None:
        if offset > len(self.model):
            self.model.extend(bytes(offset - len(self.model)))
        self.model[offset : offset + len(data)] = data

    def resize(self, size: int) -> None:
        del self.model[size:]
        self.model.extend(bytes(size - len(self.model)))


# ---- operations ----


def write(trial: Trial) -> None:
    offset, size = trial.room()
    data = trial.data(size)
    trial.hand(f"write {offset}+{size}").write(offset, data)
    trial.put(offset, data)


def write_little(trial: Trial) -> None:
    """The size of a record, a line, a header."""
    offset = trial.random.randrange(min(len(trial.model) + 100, SIZE_MAX - 300))
    data = trial.data(trial.random.randrange(1, 300))
    trial.hand(f"write {offset}+{len(data)}").write(offset, data)
    trial.put(offset, data)


def write_vector(trial: Trial) -> None:
    offset, size = trial.room()
    data = trial.data(size)
    cut = trial.random.randrange(size)
    trial.hand(f"pwritev {offset}+{cut}+{size - cut}").write_vector(offset, data[:cut], data[cut:])
    trial.put(offset, data)


def write_direct(trial: Trial) -> None:
    offset, size = trial.room(DIRECT_BYTES)
    data = trial.data(size)
    trial.hand(f"write O_DIRECT {offset}+{size}").write_direct(offset, data)
    trial.put(offset, data)


def write_synchronous(trial: Trial) -> None:
    offset, size = trial.room()
    data = trial.data(size)
    trial.hand(f"write O_DSYNC {offset}+{size}").write_synchronous(offset, data)
    trial.put(offset, data)


def write_without_permission(trial: Trial) -> None:
    offset, size = trial.room()
    data = trial.data(size)
    trial.hand(f"chmod 0, write {offset}+{size}, chmod 644").write_without_permission(offset, data)
    trial.put(offset, data)


def append(trial: Trial) -> None:
    if len(trial.model) < SIZE_MAX:
        data = trial.data(trial.random.randrange(1, min(PIECE_MAX, SIZE_MAX - len(trial.model)) + 1))
        trial.hand(f"append {len(data)}").append(data)
        trial.put(len(trial.model), data)


def map_write(trial: Trial) -> None:
    offset, size = trial.part()
    if size:
        data, flush = trial.data(size), trial.random.random() < 0.3
        trial.hand(f"mmap write {offset}+{size}{' msync' * flush}").map_write(offset, data, flush)
        trial.put(offset, data)


def map_write_behind_the_end(trial: Trial) -> None:
    """As fsx does it: make the room by ftruncate, then write into the mapping."""
    offset, size = trial.room()
    hand = trial.hand(f"truncate to {offset + size} at least, mmap write {offset}+{size}")
    if offset + size > len(trial.model):
        hand.truncate(offset + size)
        trial.resize(offset + size)
    data = trial.data(size)
    hand.map_write(offset, data, False)
    trial.put(offset, data)


def map_keep(trial: Trial) -> None:
    if trial.model:
        number = trial.random.randrange(len(trial.hands))
        trial.say(f"[{number}] mmap {len(trial.model)}, and keep it")
        trial.hands[number].map_keep(len(trial.model))
        trial.kept[number] = len(trial.model)


def write_kept(trial: Trial) -> None:
    """Into a mapping from before, as far as the file still reaches."""
    offset, size = trial.part()
    able = [number for number, kept in enumerate(trial.kept) if kept >= offset + size]
    if size and able:
        number, data = trial.random.choice(able), trial.data(size)
        trial.say(f"[{number}] write {offset}+{size} into the mapping of before")
        trial.hands[number].write_kept(offset, data)
        trial.put(offset, data)


def truncate_down(trial: Trial) -> None:
    size = trial.random.randrange(len(trial.model) + 1)
    trial.hand(f"ftruncate {len(trial.model)} -> {size}").truncate(size)
    trial.resize(size)


def truncate_up(trial: Trial) -> None:
    size = trial.random.randrange(len(trial.model), SIZE_MAX + 1)
    trial.hand(f"truncate {len(trial.model)} -> {size}").truncate_by_name(size)
    trial.resize(size)


def empty(trial: Trial) -> None:
    trial.hand("open O_TRUNC").empty()
    trial.resize(0)


def punch(trial: Trial) -> None:
    offset, size = trial.part()
    if size:
        trial.hand(f"punch {offset}+{size}").punch(offset, size)
        trial.put(offset, bytes(size))


def reserve(trial: Trial) -> None:
    offset, size = trial.room()
    trial.hand(f"posix_fallocate {offset}+{size}").reserve(offset, size)
    trial.resize(max(len(trial.model), offset + size))


def _apart(trial: Trial) -> tuple[int, int, int]:
    """(source, size, target) that do not overlap."""
    source, size = trial.part()
    size = min(size, SIZE_MAX // 4)
    target = trial.random.randrange(SIZE_MAX - size + 1)
    return (source, size, target) if target + size <= source or source + size <= target else (0, 0, 0)


def copy(trial: Trial) -> None:
    source, size, target = _apart(trial)
    if size:
        trial.hand(f"copy_file_range {source}+{size} -> {target}").copy(source, size, target)
        trial.put(target, bytes(trial.model[source : source + size]))


def send(trial: Trial) -> None:
    source, size, target = _apart(trial)
    if size:
        trial.hand(f"sendfile {source}+{size} -> {target}").send(source, size, target)
        trial.put(target, bytes(trial.model[source : source + size]))


def sync(trial: Trial) -> None:
    data_only = trial.random.random() < 0.5
    trial.hand("fdatasync" if data_only else "fsync").sync(data_only)


def reopen(trial: Trial) -> None:
    number = trial.random.randrange(len(trial.hands))
    trial.say(f"[{number}] close, open")
    trial.hands[number].close()
    trial.kept[number] = 0
    trial.hands[number].open()


def rename(trial: Trial) -> None:
    """While it is open everywhere."""
    new = f"{trial.path.rpartition('.')[0]}.{len(trial.log)}"
    trial.say(f"rename to {os.path.basename(new)}")
    os.rename(trial.path, new)
    _moved(trial, new)


def link_and_unlink(trial: Trial) -> None:
    """The same by link(2) and unlink(2): the file keeps its last name, and is open."""
    new = f"{trial.path.rpartition('.')[0]}.{len(trial.log)}"
    trial.say(f"link as {os.path.basename(new)}, unlink")
    os.link(trial.path, new)
    os.unlink(trial.path)
    _moved(trial, new)


def save(trial: Trial) -> None:
    """As an editor saves: a new file, flushed, renamed over the old one, the directory flushed. Who has the old one
    open still reads that."""
    data = trial.data(trial.random.randrange(SIZE_MAX // 2))
    trial.say(f"save {len(data)} bytes in a new file, renamed over this one")
    with open(f"{trial.path}.new", "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{trial.path}.new", trial.path)
    directory = os.open(os.path.dirname(trial.path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    for number, each in enumerate(trial.hands):
        if (old := each.read(0, SIZE_MAX)) != trial.model:
            raise Wrong(f"the replaced file, read by [{number}]", old, bytes(trial.model))
    trial.model = bytearray(data)
    trial.close()
    trial.open()


def _moved(trial: Trial, new: str) -> None:
    trial.path = new
    for each in trial.hands:
        each.moved(new)


# ---- what only makes the next one harder ----


def forget(trial: Trial) -> None:
    trial.hand("fadvise DONTNEED").forget()


def drop_caches(trial: Trial) -> None:
    trial.say("drop caches")
    trial.drop_caches()


def remount(trial: Trial) -> None:
    trial.say("unmount, mount")
    trial.close()
    trial.remount()
    trial.open()


OPERATIONS: dict[Callable[[Trial], None], float] = {
    write: 14, write_little: 12, write_vector: 3, write_direct: 3, write_synchronous: 1, write_without_permission: 1,
    append: 5, map_write: 8, map_write_behind_the_end: 3, map_keep: 2, write_kept: 4, truncate_down: 6, truncate_up: 4,
    empty: 0.5, punch: 6, reserve: 0.5, copy: 2, send: 1, sync: 3, reopen: 5, rename: 1, link_and_unlink: 0.5,
    save: 0.5, forget: 6, drop_caches: 0.2, remount: 0.02,
}  # fmt: skip
"""With how often each comes, relative to the others."""

CHANGES_NOTHING = frozenset({forget, drop_caches, remount})
"""Not followed by a check, which would fill the caches that they have just emptied."""


# ---- checks ----


class Wrong(Exception):
    """The file does not hold what it should."""

    def __init__(self, what: str, got: bytes, wanted: bytes) -> None:
        at = next((n for n, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), min(len(got), len(wanted)))
        differing = sum(a != b for a, b in zip(got, wanted, strict=False)) + abs(len(got) - len(wanted))
        super().__init__(
            f"{what}: {len(got)} bytes, wanted {len(wanted)}; {differing} differ, the first at {at}: "
            f"{got[at : at + 16].hex(' ')}, wanted {wanted[at : at + 16].hex(' ')}"
        )


def check(trial: Trial) -> None:
    """The size, and the whole content in one of the ways to read it, by any hand."""
    number = trial.random.randrange(len(trial.hands))
    how = trial.random.random()
    hand, size = trial.hands[number], len(trial.model)
    if hand.size() != (size, size):
        raise Wrong(f"size {hand.size()}, seen by [{number}]", b"", bytes(trial.model))
    kept = min(trial.kept[number], size)
    if how < 0.1 and size:
        what, got = "mmap read", hand.map_read(0, size)
    elif how < 0.3 and kept:
        what, got = "the mapping of before", hand.read_kept(0, kept) + bytes(trial.model[kept:])
    elif how < 0.36:
        aligned = -(-(size + 1) // DIRECT_BYTES) * DIRECT_BYTES
        what, got = "read O_DIRECT", hand.read_direct(0, aligned)
    elif how < 0.45:
        what, got = "open and read", hand.read_fresh(0, SIZE_MAX)
    else:
        what, got = "read", hand.read(0, SIZE_MAX)
    if got != trial.model:
        raise Wrong(f"{what} by [{number}]", got, bytes(trial.model))
