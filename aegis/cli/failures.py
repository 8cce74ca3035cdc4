"""How a command ends: exit codes, and the one exception that carries them out."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """Stable: scripts decide by them. 2 is also what the argument parser ends with."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNREACHABLE = 5
    INTERRUPTED = 130  # 128 + SIGINT, as shells say it


class CommandFailed(Exception):
    """`document` is the API's problem as it came, for `--output json`."""

    def __init__(
        self,
        message: str,
        *,
        exit_code: Exit = Exit.FAILED,
        next_step: str = "",
        document: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.next_step = next_step
        self.document = document or {"code": exit_code.name.lower(), "detail": message, "next_step": next_step}

    @property
    def problems(self) -> list[dict[str, Any]]:
        return list(self.document.get("problems") or [])


def from_problem(status: int, document: dict[str, Any]) -> CommandFailed:
    """An answer of the API other than success."""
    if status == 404:
        code = Exit.NOT_FOUND
    elif 400 <= status < 500:
        code = Exit.REFUSED
    else:
        code = Exit.FAILED
    message = str(document.get("detail") or f"The daemon answered HTTP {status}")
    return CommandFailed(message, exit_code=code, next_step=str(document.get("next_step") or ""), document=document)
