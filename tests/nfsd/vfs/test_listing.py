"""Cookies: order, collisions, changes in place, the cost of emptying."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from nfsd.vfs.listing import Listings, Snapshot, name_hash
from nfsd.vfs.nodes import LocalNode

NAMES = st.binary(min_size=1, max_size=3)


def coarse(name: bytes) -> int:
    """A hash with many collisions."""
    return 4 + name[0] % 4 * 2


@given(st.sets(NAMES, max_size=30), st.lists(st.tuples(st.booleans(), NAMES), max_size=60))
def test_a_changed_snapshot_is_the_one_that_would_be_read_anew(
    names: set[bytes], changes: list[tuple[bool, bytes]]
) -> None:
    for hashing in (name_hash, coarse):
        snapshot, there = Snapshot(((n, 7) for n in names), 0, hashing), set(names)
        for add, name in changes:
            if add:
                snapshot.add(name, 7)
                there.add(name)
            else:
                snapshot.remove(name)
                there.discard(name)
        anew = Snapshot(((n, 7) for n in there), 0, hashing)
        assert list(snapshot.after(2)) == list(anew.after(2))
        assert len(snapshot) == len(there)


@given(st.sets(NAMES, max_size=40))
def test_going_on_from_any_entry_loses_none_even_when_hashes_collide(names: set[bytes]) -> None:
    snapshot = Snapshot(((n, 7) for n in names), 0, coarse)
    entries = list(snapshot.after(2))
    assert sorted(entry.name for entry in entries) == sorted(names)
    for index, entry in enumerate(entries):
        following = [later.name for later in entries[index + 1 :]]
        again = [later.name for later in snapshot.after(entry.cookie)]
        assert again[len(again) - len(following) :] == following
        # What is given twice is of the entry's own group, and nothing is when the group had ended.
        assert all(coarse(name) == coarse(entry.name) for name in again[: len(again) - len(following)])
    assert not entries or list(snapshot.after(entries[-1].cookie)) == []


def test_hashes_are_the_same_in_every_process_and_fit_a_signed_cookie() -> None:
    assert name_hash(b"README.md") == 4253534382748231752
    assert all(4 <= name_hash(b"%d" % index) < 1 << 63 for index in range(1000))


def test_emptying_a_large_directory_page_by_page_moves_each_row_a_few_times_only() -> None:
    count = 20_000
    merged = 0

    class Counting(Snapshot):
        def _merge(self) -> None:
            nonlocal merged
            merged += len(self._rows)
            super()._merge()

    snapshot = Counting(((b"%d" % index, index) for index in range(count)), 0)
    cookie = 2
    while page := [entry for entry, _ in zip(snapshot.after(cookie), range(170), strict=False)]:
        cookie = page[-1].cookie
        for entry in page:
            snapshot.remove(entry.name)
    assert len(snapshot) == 0
    assert merged < 3 * count


def test_kept_snapshots_are_bounded_by_their_entries() -> None:
    listings = Listings(entries_max=100)
    nodes = [node(index) for index in range(10)]
    for each in nodes:
        listings.keep(each, Snapshot(((b"%d" % index, 1) for index in range(30)), 0))
    assert [listings.get(each) is not None for each in nodes] == [False] * 7 + [True] * 3
    assert listings.fresh(nodes[9], 0) is not None
    assert listings.fresh(nodes[9], 1) is None
    assert listings.get(nodes[9]) is None


def node(index: int) -> LocalNode:
    return LocalNode(os.stat("/"), index)
