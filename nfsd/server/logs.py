"""Log lines that a peer can provoke, held to a rate: a hostile client must not fill a disk with our own words."""

from __future__ import annotations

import logging
from collections.abc import Callable


class LimitedLog:
    """At most `lines_max` lines in `seconds`; what was left out is counted and told with the next line that fits."""

    def __init__(
        self, log: logging.Logger, clock: Callable[[], float], *, lines_max: int = 20, seconds: float = 10.0
    ) -> None:
        self._log = log
        self._clock = clock
        self._lines_max = lines_max
        self._seconds = seconds
        self._since = clock()
        self._lines = 0
        self._left_out = 0

    def warning(self, message: str, *arguments: object) -> None:
        now = self._clock()
        if now - self._since >= self._seconds:
            self._since, self._lines = now, 0
            if self._left_out:
                self._log.warning("%d more lines like the next one were left out", self._left_out)
                self._left_out = 0
        if self._lines < self._lines_max:
            self._lines += 1
            self._log.warning(message, *arguments)
        else:
            self._left_out += 1
