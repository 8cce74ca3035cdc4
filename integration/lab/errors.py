"""What can go wrong with the lab itself, as opposed to with the program under test.

A `LabError` always means: the machine could not be prepared, a guest did not answer, a deadline passed. Its message
carries the end of the console or log of the process it is about, because the process is gone when somebody reads it.
"""

from __future__ import annotations

from pathlib import Path

LOG_TAIL_BYTES = 4000


class LabError(Exception):
    """The lab failed; the message says which part, and what to do where something can be done."""


class MissingPackages(LabError):
    """Debian packages are missing and we may not install them; `command` is what the user has to run."""

    def __init__(self, packages: list[str], command: str) -> None:
        super().__init__(f"the lab needs Debian packages that are not installed: {' '.join(packages)}; run: {command}")
        self.packages = packages
        self.command = command


def tail(log: Path) -> str:
    """The end of a log file, indented, for an error message; says so when there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
            text = stream.read().decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return f"(no log at {log})"
    body = "\n".join("    " + line for line in text.splitlines())
    return f"--- end of {log.name} ---\n{body or '    (empty)'}"
