"""The table of nodes: the last one added for a number, as long as somebody holds it."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st

from nfsd.vfs.interface import Node
from nfsd.vfs.node_table import NodeTable


@given(st.lists(st.tuples(st.sampled_from(["add", "let go", "remove"]), st.integers(0, 5)), max_size=60))
def test_it_is_a_dictionary_that_holds_nothing_alive(steps: list[tuple[str, int]]) -> None:
    table: NodeTable[Node] = NodeTable()
    held: dict[int, Node] = {}  # what the table should have
    others: list[Node] = []  # nodes whose number another one has got, alive all the same
    for step, number in steps:
        if step == "add":
            if number in held:
                others.append(held[number])
            held[number] = Node(number, len(others), 0o100000)
            table.add(held[number])
        elif step == "let go":
            held.pop(number, None)
        elif number in held:
            table.remove(held[number])
            others.append(held.pop(number))
        for other in others:
            table.remove(other)  # not in the table: nothing happens
        gc.collect()
        assert len(table) == len(held)
        assert all(table.get(each) is held.get(each) for each in range(6))
