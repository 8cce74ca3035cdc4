"""A program that runs under a warden (`Process`), and what a finished command left (`Result`).

`Process` holds a pidfd, not a number: a signal can never hit a stranger that inherited the pid, and the holder need
not be the parent. Output goes to a log file, so nothing has to be pumped and a dead program can still be asked what
it said.
"""

from __future__ import annotations

import os
import re
import select
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from integration.lab.errors import LabError, tail
from integration.lab.warden import STATUS

POLL_SECONDS = 0.01
STOP_SECONDS = 10.0
KILL_SECONDS = 10.0


@dataclass(frozen=True)
class Result:
    """What a command gave back. `returncode` is negative for a signal, as in `subprocess`."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)
    seconds: float

    @property
    def text(self) -> str:
        """Standard output without the surrounding white space."""
        return self.stdout.decode("utf-8", "surrogateescape").strip()

    def check(self) -> Result:
        """This result, if the command succeeded; else `LabError` with the end of what it wrote."""
        if self.returncode == 0:
            return self
        said = (self.stdout[-2000:] + self.stderr[-2000:]).decode("utf-8", "replace").strip()
        raise LabError(f"{' '.join(self.argv)!r} ended with {self.returncode}:\n{said}")


class CommandTimeout(LabError):
    """A command ran longer than its `timeout`; its whole process group has been killed."""


class Logged:
    """Something that runs and whose output is in a file, dead or alive."""

    name: str
    log: Path

    def poll(self) -> int | None:
        """The return code, or None while it runs."""
        raise NotImplementedError

    def output(self) -> str:
        """Everything it has written so far."""
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def wait_for_line(self, pattern: str, timeout: float) -> re.Match[str]:
        """The first match of a regular expression in the output; `LabError` when it ends, or `timeout` passes."""
        deadline = time.monotonic() + timeout
        while True:
            ended = self.poll() is not None
            match = re.search(pattern, self.output(), re.MULTILINE)
            if match:
                return match
            if ended:
                raise LabError(f"{self.name} ended with {self.poll()} before {pattern!r}\n{tail(self.log)}")
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} did not say {pattern!r} in {timeout:.1f} s\n{tail(self.log)}")
            time.sleep(POLL_SECONDS)


class Process(Logged):
    """A running program: wait for it, signal it, read its log. Closing kills it."""

    def __init__(self, name: str, pidfd: int, status: int, log: Path) -> None:
        self.name = name
        self.log = log
        self.returncode: int | None = None
        self._pidfd = pidfd
        self._status = status

    @property
    def pid(self) -> int:
        """The process id as this process counts it, for /proc; -1 once it is dead. Signal by the methods, not by it."""
        return self._fdinfo("Pid:")

    @property
    def lab_pid(self) -> int:
        """The process id as the programs of its own network count it."""
        return self._fdinfo("NSpid:")

    def _fdinfo(self, key: str) -> int:
        with open(f"/proc/self/fdinfo/{self._pidfd}", encoding="ascii") as info:
            return next(int(line.split()[-1]) for line in info if line.startswith(key))

    def poll(self) -> int | None:
        """The return code, or None while it runs."""
        return self._collect(0)

    def wait(self, timeout: float) -> int:
        """The return code; `CommandTimeout` after `timeout` seconds, and then it is still running."""
        code = self._collect(timeout)
        if code is None:
            raise CommandTimeout(f"{self.name} still runs after {timeout:.1f} s\n{tail(self.log)}")
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Signal the program itself (not what it started). A dead one is no error."""
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            pass

    def kill(self) -> int:
        """SIGKILL, and wait until it is gone."""
        self.send_signal(signal.SIGKILL)
        return self.wait(KILL_SECONDS)

    def stop(self, timeout: float = STOP_SECONDS) -> int:
        """SIGTERM, SIGKILL when that did not end it within `timeout`; the return code."""
        self.send_signal(signal.SIGTERM)
        code = self._collect(timeout)
        return self.kill() if code is None else code

    def close(self) -> None:
        """Kill it if it runs, and let go of it. Safe to repeat."""
        if self._pidfd < 0:
            return
        if self.poll() is None:
            self.kill()
        os.close(self._pidfd)
        self._pidfd = -1

    def _collect(self, timeout: float) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            # No status at the end of the pipe means the warden died first, which kills its children.
            data = os.read(self._status, STATUS.size)
            self.returncode = STATUS.unpack(data)[0] if data else -signal.SIGKILL
            os.close(self._status)
        return self.returncode
