"""A command's output as it comes, and then of its result only what has not been shown yet.

Output comes in pieces that end anywhere, and may be skipped where there was much; a result is shortened in its middle.
So what was shown last is looked for in the result, and what follows it is new; where it is not found, all is.
"""

from __future__ import annotations

from typing import Any

STREAMS = ("stdout", "stderr")
SOUGHT_CHARACTERS = 200


class Running:
    """What has been shown of each dispatch that is under way. Nothing is kept of those that have ended."""

    def __init__(self) -> None:
        self._unfinished: dict[tuple[str, str], str] = {}  # the line that has begun
        self._shown: dict[tuple[str, str], str] = {}  # the end of what has come

    def lines(self, data: dict[str, Any]) -> list[str]:
        """The whole lines there are now, by one more piece."""
        lines: list[str] = []
        if data.get("skipped_bytes"):
            lines.append(f"({data['skipped_bytes']} bytes left out)")
        for stream in STREAMS:
            key = (str(data.get("dispatch_id")), stream)
            piece = str(data.get(stream) or "")
            *whole, self._unfinished[key] = (self._unfinished.get(key, "") + piece).split("\n")
            self._shown[key] = (self._shown.get(key, "") + piece)[-SOUGHT_CHARACTERS:]
            lines += whole
        return lines

    def rest(self, data: dict[str, Any]) -> str:
        """Of a result, what is still to be shown."""
        rest = ""
        for stream in STREAMS:
            key = (str(data.get("dispatch_id")), stream)
            shown, unfinished = self._shown.pop(key, ""), self._unfinished.pop(key, "")
            text = str(data.get(stream) or "")
            _, found, after = text.rpartition(shown) if shown else ("", "", text)
            rest += unfinished + after if found else text
        return rest
