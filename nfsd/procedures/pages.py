"""Pages of READDIRPLUS kept encoded, for clients that list a directory again, and for the next client that does.

Encoding an entry costs a look at its file; most listings find what the last one found. A page is sent again while the
directory's `Listing.version` is the one it was made with, so what we did ourselves since shows at once, and for no
longer than `PAGE_SECONDS_MAX`, so that what the host did shows within that: clients keep attributes for longer
themselves (acregmin, 3 s on Linux).

Not in a page: `.` and `..`, whose attributes change by what happens elsewhere. Not kept: a page with a file of several
names, which can be changed by a name in another directory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from nfsd.exports import Export
from nfsd.limits import PAGE_BYTES_KEPT_MAX, PAGE_SECONDS_MAX
from nfsd.vfs.interface import Node

PageKey: TypeAlias = tuple[Export, Node, int, int, int, int]
"""The directory in its export, the first entry's cookie, and what limits the page: bytes, bytes of dircount, and how
many entries stand before it in the reply."""


class Page(NamedTuple):
    """Entries encoded in order, as they stand in a reply."""

    entries: bytes
    eof: bool


_ENTRY_BYTES = 1024
"""Python's own cost of a kept page: key, tuples, numbers, a slot, and the node that may live for it alone."""


class Pages:
    """The pages of all exports, oldest first out, at most `bytes_max` of them together."""

    def __init__(self, clock: Callable[[], float], bytes_max: int = PAGE_BYTES_KEPT_MAX) -> None:
        """`clock`: monotonic seconds."""
        self._clock = clock
        self._bytes_max = bytes_max
        self._bytes = 0
        self._kept: OrderedDict[PageKey, tuple[object, float, Page]] = OrderedDict()

    def get(self, key: PageKey, version: object) -> Page | None:
        """The page, if the directory still has the version it was made with and it is young enough."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        made_with, until, page = kept
        if made_with == version and self._clock() < until:
            return page
        self._drop(key)
        return None

    def keep(self, key: PageKey, version: object, page: Page) -> None:
        """`version` is the listing's when the page was begun; None says that it has none, and nothing is kept."""
        self._drop(key)
        if version is None or _cost(page) > self._bytes_max:
            return
        self._kept[key] = (version, self._clock() + PAGE_SECONDS_MAX, page)
        self._bytes += _cost(page)
        while self._bytes > self._bytes_max:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: PageKey) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= _cost(kept[2])


def _cost(page: Page) -> int:
    return _ENTRY_BYTES + len(page.entries)
