"""Runs claims, each in a fresh directory of its own, and says what came of it, one line of JSON a claim:

    {"claim": "renaming.over_a_file_replaces_it", "result": "ok", "detail": "", "seconds": 0.01}

`result` is ok, fail (`detail`: what was wanted, and the line) or skip (`detail`: why it does not apply here).

Claims run one after the other in one worker process, not in one each: a fork takes a User Mode Linux guest up to
100 ms, most claims take five. Between two claims the worker puts back what a process has: working directory, umask,
descriptors. A claim that hangs or kills the worker has failed, and another worker goes on behind it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import NoReturn

from integration.posix.claims import NEEDS, PEER, Claim, NotHere
from integration.posix.peer import Peer
from integration.posix.tools import where, write_all

CLAIM_SECONDS = 60.0
READ_BYTES = 1 << 16
DETAIL_CHARACTERS_MAX = 400


@dataclass(frozen=True)
class Outcome:
    """One line of the report."""

    claim: str
    result: str
    detail: str = ""
    seconds: float = 0.0

    @property
    def area(self) -> str:
        """The module the claim is written in."""
        return self.claim.partition(".")[0]

    def line(self) -> bytes:
        """As it is reported."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def of_line(cls, line: bytes) -> Outcome:
        """What `line` made a line of."""
        return cls(**json.loads(line))


@dataclass(frozen=True)
class Runner:
    """`base` is an existing directory on the file system under test; `has`, which needs of claims are met; `peer`,
    where one serves (HOST:PORT)."""

    base: str
    has: frozenset[str]
    peer: str = ""
    claim_seconds: float = CLAIM_SECONDS

    def run(self, claims: Iterable[Claim]) -> Iterator[Outcome]:
        """Run them one after the other; an outcome as soon as it is there."""
        left = deque(claims)
        while left:
            with _Worker(self, list(left)) as worker:
                for outcome in worker.outcomes():
                    left.popleft()
                    yield outcome
                if left:
                    yield Outcome(left.popleft().name, "fail", worker.how_it_ended())

    def one(self, claim: Claim) -> Outcome:
        """Run it in this very process, which is left as it was."""
        for need in sorted(claim.needs - self.has):
            return Outcome(claim.name, "skip", NEEDS[need])
        started = time.monotonic()
        try:
            result, detail = self._in_fresh_directory(claim)
        except OSError as error:
            result, detail = "fail", f"the claim's own directory: {error}"
        return Outcome(claim.name, result, detail, round(time.monotonic() - started, 3))

    def _in_fresh_directory(self, claim: Claim) -> tuple[str, str]:
        directory = os.path.join(self.base, claim.name)
        os.mkdir(directory, 0o755)
        os.chdir(directory)
        before = _descriptors()
        try:
            result, detail = self._body(claim)
        finally:
            for fd in _descriptors() - before:
                os.close(fd)
            os.umask(0o022)
            os.chdir(self.base)
        leftover = _remove(directory)
        if leftover and result == "ok":
            return "fail", f"its directory cannot be removed: {leftover}"
        return result, detail

    def _body(self, claim: Claim) -> tuple[str, str]:
        try:
            if PEER in claim.needs:
                with Peer.connect(self.peer) as peer:
                    claim.body(peer)
            else:
                claim.body()
        except NotHere as reason:
            return "skip", str(reason)
        except Exception as error:
            return "fail", f"{where()} -> {type(error).__name__}: {str(error)[:DETAIL_CHARACTERS_MAX]}"
        return "ok", ""


class _Worker:
    """A process that runs claims and writes their outcomes into a pipe."""

    def __init__(self, runner: Runner, claims: list[Claim]) -> None:
        self._receiver, sender = os.pipe()
        self._timed_out = False
        self._seconds = runner.claim_seconds
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._receiver)
            _work(runner, claims, sender)
        os.close(sender)

    def outcomes(self) -> Iterator[Outcome]:
        """Until it has no more to say, or says nothing for longer than a claim may take."""
        rest = b""
        while True:
            readable, _, _ = select.select([self._receiver], [], [], self._seconds)
            if not readable:
                self._timed_out = True
                return
            said = os.read(self._receiver, READ_BYTES)
            if not said:
                return
            *lines, rest = (rest + said).split(b"\n")
            yield from map(Outcome.of_line, lines)

    def how_it_ended(self) -> str:
        """Why the claim it was at has no outcome."""
        if self._timed_out:
            return f"not done after {self._seconds:g} s"
        return "it ended the process it ran in"

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._receiver)
        try:
            os.killpg(self.pid, signal.SIGKILL)  # with it, whatever a claim started and forgot
        except ProcessLookupError:
            pass
        os.waitpid(self.pid, 0)


def _work(runner: Runner, claims: list[Claim], sender: int) -> NoReturn:
    try:
        os.setpgid(0, 0)
        os.umask(0o022)
        for each in claims:
            write_all(sender, runner.one(each).line())
    finally:
        os._exit(0)


def _descriptors() -> set[int]:
    """Those that are open (but for the one this listing is read by)."""
    found = {int(name) for name in os.listdir("/proc/self/fd")}
    return {fd for fd in found if os.path.lexists(f"/proc/self/fd/{fd}")}


def _remove(directory: str) -> str:
    """Remove the tree, closed directories too; what is wrong if that does not go."""
    try:
        _remove_in(None, directory)
    except OSError as error:
        return str(error)
    return ""


def _remove_in(parent: int | None, name: str) -> None:
    """By descriptors and one name at a time: a claim may have made a path that is too long for any call."""
    if stat.S_IMODE(os.stat(name, dir_fd=parent).st_mode) & 0o700 != 0o700:
        os.chmod(name, 0o700, dir_fd=parent)
    here = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        with os.scandir(here) as listing:
            entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in listing]
        for entry_name, is_directory in entries:
            if is_directory:
                _remove_in(here, entry_name)
            else:
                os.unlink(entry_name, dir_fd=here)
    finally:
        os.close(here)
    os.rmdir(name, dir_fd=parent)
