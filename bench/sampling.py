"""Which lines of Python the time of a busy server goes to, asked of the process itself about a thousand times a second.

SIGALRM comes by the clock (setitimer(2), ITIMER_REAL): the timers of processor time tick no finer than the kernel's
100 or 250 Hz. Samples that find the server waiting in epoll are counted apart. The rule to know when reading it: Python
runs a signal's handler between two bytecodes, so time inside a C function or a system call is counted on the line that
called it.
"""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL_SECONDS = 0.001
LINES_SHOWN = 45
_PROJECT = Path(__file__).resolve().parents[1]
_WAITING = ("selectors.py", "select")


class Sampler:
    """Of the main thread. Costs about 1 % of it."""

    def __init__(self) -> None:
        self._lines: Counter[tuple[str, int, str]] = Counter()
        self._functions: Counter[tuple[str, str]] = Counter()
        self._samples = self._waiting = 0

    def start(self) -> None:
        """From here on."""
        signal.signal(signal.SIGALRM, self._sample)
        signal.setitimer(signal.ITIMER_REAL, INTERVAL_SECONDS, INTERVAL_SECONDS)

    def stop(self) -> str:
        """What was seen: the share of each line alone, and of each function with all it called."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        head = f"{self._samples} samples at work, {self._waiting} waiting"
        return "\n".join([head, "", *self._by_line(), "", *self._by_function(), ""]) if self._samples else "no samples"

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        code = frame.f_code
        if (code.co_filename.rpartition("/")[2], code.co_name) == _WAITING:
            self._waiting += 1
            return
        self._samples += 1
        self._lines[code.co_filename, frame.f_lineno, code.co_name] += 1
        seen = set()
        while frame is not None:
            seen.add((frame.f_code.co_filename, frame.f_code.co_qualname))
            frame = frame.f_back
        self._functions.update(seen)

    def _by_line(self) -> list[str]:
        return [
            f"{100 * count / self._samples:5.1f} %  {_short(file)}:{line} {name}"
            for (file, line, name), count in self._lines.most_common(LINES_SHOWN)
        ]

    def _by_function(self) -> list[str]:
        return [
            f"{100 * count / self._samples:5.1f} %  {_short(file)} {name}"
            for (file, name), count in self._functions.most_common(LINES_SHOWN)
        ]


def _short(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(_PROJECT)) if path.is_relative_to(_PROJECT) else path.name
