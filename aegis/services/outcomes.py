"""How an iteration or an execution can end, apart from well: as exceptions, so that clearing up happens on the way."""

from __future__ import annotations


class IterationFailed(Exception):
    """The agent came to no final response, and it was the agent's own doing: the next iteration is told why.

    `code` becomes the execution's when there is no next one."""

    def __init__(self, reason: str, *, code: str = "iteration_failed", exit_code: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.exit_code = exit_code


class ExecutionFailed(Exception):
    """The execution ends here, with a stable code and a text for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
