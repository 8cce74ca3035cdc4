"""A command's output while it runs, for people who follow: how much of it becomes events.

The rule to know: it is never what anything is decided by. Containers are not trusted, so what they may tell of one
dispatch is bounded here, and whoever has told enough is refused: bootstrap then keeps to the result, which comes
anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aegis.errors import Conflict

OUTPUT_EVENTS_MAX: Final = 1_000  # of one dispatch; bootstrap sends fewer in a day
OUTPUT_CHARACTERS_MAX: Final = 1_000_000


@dataclass(slots=True)
class RunningOutput:
    """What has been told of the dispatch under way. Forgotten with the daemon: its successor counts from nothing."""

    dispatch_id: str = ""
    sequence: int = -1
    events: int = 0
    characters: int = 0

    def take(self, payload: Mapping[str, Any]) -> dict[str, Any] | None:
        """The event's data; None for a repetition. Conflict when this dispatch has told enough."""
        dispatch_id, sequence = str(payload["dispatch_id"]), int(payload["sequence"])
        if dispatch_id != self.dispatch_id:
            self.dispatch_id, self.sequence, self.events, self.characters = dispatch_id, -1, 0, 0
        if sequence <= self.sequence:
            return None
        stdout, stderr = (str(payload[stream]).replace("\0", "\ufffd") for stream in ("stdout", "stderr"))
        self.sequence = sequence
        self.events += 1
        self.characters += len(stdout) + len(stderr)
        if self.events > OUTPUT_EVENTS_MAX or self.characters > OUTPUT_CHARACTERS_MAX:
            raise Conflict(f"Dispatch {dispatch_id} has told enough of its output: the rest comes with its result")
        skipped = int(payload.get("skipped_bytes", 0))
        return {"dispatch_id": dispatch_id, "stdout": stdout, "stderr": stderr, "skipped_bytes": skipped}
