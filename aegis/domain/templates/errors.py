"""What is wrong with a template, and where."""

from __future__ import annotations


class TemplateError(ValueError):
    """`line` and `column` count from 1, within the template."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.message = message
        self.line = line
        self.column = column


def place(source: str, offset: int) -> tuple[int, int]:
    """The line and column of a character."""
    begin = source.rfind("\n", 0, offset) + 1
    return source.count("\n", 0, begin) + 1, offset - begin + 1


def error_at(source: str, offset: int, message: str) -> TemplateError:
    return TemplateError(message, *place(source, offset))
