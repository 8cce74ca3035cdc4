"""The record of one iteration's network decisions: bounded, however many there are, and exact in its sums.

The first decision of a kind (verdict, host, port, rule) is an event at once. Those that follow are counted, and told
together when their pause is over, which doubles each time; what is left is told at the end, with the bytes. So the
`connections` of all events of a host are all there were, and their bytes all bytes.

The rule to know: nothing is decided unrecorded. Where the first event cannot be taken, the decision is not made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aegis.domain.events import Event
from aegis.errors import WorldError

logger = logging.getLogger(__name__)

LINES_MAX: Final = 200
PAUSE_FIRST_SECONDS: Final = 5.0
PAUSE_LAST_SECONDS: Final = 300.0
OTHERS: Final = "(other hosts)"

ALLOWED: Final = "network.allowed"
DENIED: Final = "network.denied"
FAILED: Final = "network.failed"

Put = Callable[[Sequence[Event]], None]
Make = Callable[..., Event]  # Journal.event


@dataclass(slots=True, eq=False)
class Line:
    """One kind of decision, and what of it was not told yet."""

    kind: str
    host: str
    port: int
    rule: str
    due: float
    pause_seconds: float = PAUSE_FIRST_SECONDS
    connections: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0

    @property
    def untold(self) -> bool:
        return bool(self.connections or self.bytes_sent or self.bytes_received)

    def told(self, now: float) -> None:
        self.connections = self.bytes_sent = self.bytes_received = 0
        self.pause_seconds = min(2 * self.pause_seconds, PAUSE_LAST_SECONDS)
        self.due = now + self.pause_seconds

    def data(self) -> dict[str, Any]:
        where = {"host": self.host, "port": self.port, "reason": self.rule}
        counts = {"connections": self.connections}
        if self.kind == ALLOWED:
            counts |= {"bytes_sent": self.bytes_sent, "bytes_received": self.bytes_received}
        return {**where, **counts}


class Ledger:
    """`make`: an event of the iteration, `put`: takes events at once or raises WorldError, `now`: monotonic."""

    def __init__(self, make: Make, put: Put, now: Callable[[], float]) -> None:
        self._make = make
        self._put = put
        self._now = now
        self._lines: dict[tuple[str, str, int, str], Line] = {}

    def note(self, kind: str, host: str, port: int, rule: str) -> Line:
        """One decision. WorldError: it cannot be recorded, so it must not be made."""
        key = (kind, host, port, rule)
        if key not in self._lines and len(self._lines) >= LINES_MAX:
            rule = f"more than {LINES_MAX} different decisions in one iteration"
            key = (kind, OTHERS, 0, rule)
        line = self._lines.get(key)
        if line is not None:
            line.connections += 1
            return line
        line = Line(*key, due=self._now() + PAUSE_FIRST_SECONDS, connections=1)
        self._put([self._make(kind, **{key: value for key, value in line.data().items() if value})])
        line.connections = 0
        self._lines[key] = line
        return line

    def tell(self, *, everything: bool = False) -> None:
        """What is due. What cannot be taken now is told the next time; with `everything` there is no next time."""
        now = self._now()
        due = [line for line in self._lines.values() if line.untold and (everything or now >= line.due)]
        try:
            self._put([self._make(line.kind, **line.data()) for line in due])
        except WorldError as error:
            if everything:
                logger.error("%d network events could not be recorded: %s", len(due), error)
            return
        for line in due:
            line.told(now)
