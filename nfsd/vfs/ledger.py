"""What a volume holds, in net bytes, and what it may hold: the account that all attachments of a volume share.

Counted is the logical size: of files their length (holes included), of symlinks their target's; a file with several
names once; directories nothing. Python state of the event loop's thread, so a claim is atomic.

While the volume is being counted (`open`) the account is an estimate: the last figure an earlier process left, or what
was found already if that is more. What fits the estimate is done; what would not fit even what was found for certain is
ENOSPC; between the two it cannot be told yet, which is EAGAIN: come again. When the count ends the account is exact.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os

from nfsd.vfs.account import KeptAccount
from nfsd.vfs.failures import failure
from nfsd.vfs.interface import Node
from nfsd.vfs.later import Later
from nfsd.vfs.offload import BACKGROUND, Pool
from nfsd.vfs.recount import SHORTAGES, Recount, Seen
from nfsd.vfs.recount import measure as measure

log = logging.getLogger("nfsd")

RETRY_SECONDS = 1.0
"""The pause after the process was short of descriptors or memory while counting."""

AHEAD_ENTRIES_MAX = 2048
"""Entries counted before the first call is answered, about 10 ms: a small volume is never estimated."""


class Cut:
    """A file whose size is changing in a thread: what the ledger holds for it, and how many changes are under way."""

    __slots__ = ("accounted", "pending")

    def __init__(self, accounted: int) -> None:
        self.accounted = accounted
        self.pending = 0


class Ledger:
    """`bytes_used`, `files_used` and their limits (None: no limit). `files_used` is kept only with a limit of files."""

    def __init__(
        self, bytes_max: int, files_max: int | None = None, *, bytes_used: int = 0, files_used: int = 0
    ) -> None:
        self.bytes_max = bytes_max
        self.files_max = files_max
        self.bytes_used = bytes_used
        self.files_used = files_used
        self.cuts: dict[Node, Cut] = {}
        """Of all attachments: two stacks on one backend see the same nodes. Bounded by the calls in the pool."""
        self.counting: Recount | None = None
        """The count under way: it is to be told of a file before the file is changed."""
        self._base = (0, 0)  # what the account holds for what was there when the count began: bytes, files
        self._known = bool(bytes_used or files_used)  # the account means something: it was given, kept, or counted
        self._file: KeptAccount | None = None
        self._kept: KeptAccount | None = None  # the file, when the account means something
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def claim(self, size: int, files: int = 0) -> None:
        """Take this much, or raise ENOSPC (EAGAIN while it cannot be told) and take nothing. What frees space or costs
        nothing always passes, also when a limit was lowered below what is used."""
        if size > 0:
            over = self.bytes_used + size - self.bytes_max
            if over > 0:
                raise failure(errno.ENOSPC if self.counting is None else self._refusal(over, 0))
        if files > 0 and self.files_max is not None:
            over = self.files_used + files - self.files_max
            if over > 0:
                raise failure(errno.ENOSPC if self.counting is None else self._refusal(0, over))
        self.settle(size, files)

    def _refusal(self, over_bytes: int, over_files: int) -> int:
        """Whether it is over even without what the estimate holds and the count has not found yet."""
        assert self.counting is not None
        certain = over_bytes > max(0, self._base[0] - self.counting.bytes)
        certain = certain or over_files > max(0, self._base[1] - self.counting.files)
        return errno.ENOSPC if certain else errno.EAGAIN

    def settle(self, size: int, files: int = 0) -> None:
        """Correct the account by this much: what was claimed and not used, or has happened anyway."""
        self.bytes_used += size
        if self.files_max is not None:
            self.files_used += files
        if self._kept is not None:
            self._kept.set(self.bytes_used, None if self.files_max is None else self.files_used)

    @property
    def shown(self) -> tuple[int, int]:
        """(bytes, files) used, for people: what was found so far while nobody knows how much there is."""
        if self.counting is None or self._known:
            return self.bytes_used, self.files_used
        missing = max(0, self._base[0] - self.counting.bytes), max(0, self._base[1] - self.counting.files)
        return self.bytes_used - missing[0], self.files_used - missing[1]

    # ---- counting ----

    async def recount(self, root: str | bytes | os.PathLike[str]) -> None:
        """Set the account to what is really below `root`: `open` and wait for the end of the count."""
        await self.open(root)
        await self.counted()

    async def open(
        self, root: str | bytes | os.PathLike[str], kept: str | bytes | os.PathLike[str] | None = None
    ) -> None:
        """Begin to count what is below `root`, in the background; returns when a small volume is counted.

        To be called before the first operation, or when none is under way. `kept`: the file for the last figures, made
        when missing; without one (or if there was none) nobody knows how full a large volume is until it is counted.
        OSError when `root` cannot be read.
        """
        counting = self.begin(root, kept)
        ahead = asyncio.Event()
        self._task = asyncio.create_task(self._count(counting, ahead), name="nfsd-recount")
        await ahead.wait()
        if self.counting is not None and not self._known:
            log.warning(
                "%s is counted for the first time: until that is done nothing in it can grow", os.fsdecode(root)
            )

    def begin(
        self, root: str | bytes | os.PathLike[str], kept: str | bytes | os.PathLike[str] | None = None
    ) -> Recount:
        """The first half of `open`: then `merge` what the count takes, until it is done. For who makes the steps."""
        counting = Recount(root)
        if kept is not None and self._file is None:
            try:
                self._file = KeptAccount(kept)
            except OSError as error:
                log.warning("%s: %s; after a restart the volume's usage is not known before it is counted", kept, error)
            else:
                self._take_up(*self._file.read())
        if not self._known:  # all that may be there
            self.bytes_used, self.files_used = self.bytes_max, self.files_max or 0
        self._base = self.bytes_used, self.files_used
        self.counting = counting
        return counting

    def merge(self, found: list[Seen]) -> None:
        """Take in what the count has found; when it is done the account is exact."""
        counting = self.counting
        assert counting is not None
        counting.merge(found)
        if counting.done:
            self._known, self._kept = True, self._file
            self._rebase(counting.bytes, counting.files)
            self._stop(counting)
            if counting.unread is not None:
                path, error = counting.unread
                log.warning(
                    "%r cannot be read (%s): what is in it does not count against the quota; repair the disk or its "
                    "mode, and attach the volume anew", b"/".join(path) or b".", error,
                )  # fmt: skip
        else:  # what is certain is not estimated lower
            self._rebase(max(self._base[0], counting.bytes), max(self._base[1], counting.files))

    async def counted(self) -> None:
        """Returns when no count is under way."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def close(self) -> None:
        """End the count where it is, and give the file of the figures back. Safe to call twice."""
        self._closing = True
        await self.counted()
        self._kept = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def _take_up(self, size: int | None, files: int | None) -> None:
        """Begin with the figures of an earlier process, if they say enough."""
        if size is not None and (files is not None or self.files_max is None):
            self.bytes_used, self.files_used = size, files or 0
            self._known, self._kept = True, self._file

    async def _count(self, counting: Recount, ahead: asyncio.Event) -> None:
        loop, pool = asyncio.get_running_loop(), Pool(threads=BACKGROUND)
        looked_at = 0
        try:
            while not counting.done and not self._closing:
                began = loop.time()
                try:
                    found = await Later(pool.run(counting.take))
                except OSError as error:
                    if error.errno not in SHORTAGES:
                        raise
                    ahead.set()
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                self.merge(found)
                looked_at += len(found)
                if looked_at >= AHEAD_ENTRIES_MAX:
                    ahead.set()
                    # The thread has the interpreter's lock half of the time at most: calls come first.
                    await asyncio.sleep(loop.time() - began)
        finally:
            ahead.set()
            await pool.close()
            self._stop(counting)

    def _stop(self, counting: Recount) -> None:
        self.counting = None
        counting.close()

    def _rebase(self, size: int, files: int) -> None:
        """Hold this much for what was there at the beginning."""
        change = (size - self._base[0], files - self._base[1])
        self._base = (size, files)
        self.settle(*change)
