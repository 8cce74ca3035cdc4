"""What was compared, and the first thing that was not the same."""

from __future__ import annotations

from typing import Any


class Difference(Exception):
    """`where`: for people, as in "iteration 2, tool.allowed"; both sides are JSON, None is nothing."""

    def __init__(self, where: str, recorded: Any, replayed: Any) -> None:
        super().__init__(where)
        self.where = where
        self.recorded = recorded
        self.replayed = replayed


class Ledger:
    """Counts decisions; an echo (what the record itself brought in) is compared and not counted."""

    def __init__(self) -> None:
        self.decisions = 0

    def same(self, where: str, recorded: Any, replayed: Any, *, echo: bool = False) -> None:
        if recorded != replayed:
            raise Difference(where, recorded, replayed)
        self.decisions += not echo
