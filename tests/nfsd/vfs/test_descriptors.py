"""The bounds of the descriptor cache: of one volume, and of all volumes of a process."""

from __future__ import annotations

import os

from nfsd.vfs.descriptors import DESCRIPTORS_MIN, Budget, Descriptors
from nfsd.vfs.nodes import LocalNode


def opened(cache: Descriptors, count: int) -> list[LocalNode]:
    nodes = [LocalNode(os.stat("/"), index) for index in range(count)]
    for node in nodes:
        cache.put(node, os.open("/", os.O_RDONLY), False)
    return nodes


def nothing() -> None:
    pass


def test_all_volumes_together_keep_to_the_budget_and_each_gets_its_minimum() -> None:
    budget = Budget(100)
    first, second = Descriptors(1000, nothing, budget), Descriptors(1000, nothing, budget)
    opened(first, 150)
    assert (len(first), budget.open) == (100, 100)
    kept = opened(second, 150)
    assert (len(second), budget.open) == (DESCRIPTORS_MIN, 100 + DESCRIPTORS_MIN)
    assert kept[-1].fd >= 0
    first.close()
    second.close()
    assert budget.open == 0


def test_what_was_used_lately_outlives_what_was_not() -> None:
    cache = Descriptors(20, nothing, Budget(1000))
    nodes = opened(cache, 20)
    for node in nodes:
        node.used = node is nodes[0]
    opened(cache, 10)
    assert nodes[0].fd >= 0
    assert [node.fd for node in nodes[1:11]] == [-1] * 10
    cache.close()


def test_a_pinned_descriptor_is_neither_evicted_nor_closed() -> None:
    cache = Descriptors(20, nothing, Budget(1000))
    pinned = opened(cache, 1)[0]
    fd, pinned.pins = pinned.fd, 2
    opened(cache, 100)
    assert pinned.fd == fd
    cache.drop(pinned)
    assert pinned.fd == -1
    cache.unpin(pinned, fd)
    os.fstat(fd)
    cache.unpin(pinned, fd)
    cache.close()
    assert len(cache) == 0
