"""`python -m nfsd` as a process, run by an ordinary user also when the tests are root."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

ORDINARY_UID = 65534
"""nobody: what the server runs as when the tests are root."""


def ordinary_user() -> list[str]:
    """A command prefix: nothing for an ordinary user."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={ORDINARY_UID}", f"--regid={ORDINARY_UID}", "--clear-groups"]


def give(path: Path) -> None:
    """Let the server's user own a directory, and pass through those above it."""
    if os.geteuid() == 0:
        os.chown(path, ORDINARY_UID, ORDINARY_UID)
        for above in path.parents:
            if not above.stat().st_mode & 0o001:
                above.chmod(above.stat().st_mode | 0o711)


class Nfsd:
    """The command, started; its "ready" line has been read when the constructor returns. A context manager."""

    def __init__(self, *arguments: str | Path, home: Path, under: Sequence[str] = ()) -> None:
        """`under`: a program and its arguments that starts the command in its own place."""
        environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [*ordinary_user(), *under, sys.executable, "-m", "nfsd", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline().rstrip("\n")
        port = re.search(r":(\d+)$", self.ready)
        self.port = int(port[1]) if port else 0

    @property
    def url(self) -> str:
        """What libnfs wants behind a path."""
        return f"?nfsport={self.port}&mountport={self.port}"

    def stop(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Exit code and what it said on standard error."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        _, said = self.process.communicate(timeout=30)
        return self.process.returncode, said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)
