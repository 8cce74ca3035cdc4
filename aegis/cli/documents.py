"""Documents without a daemon: the one place where the command line reads manifests and configuration itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aegis.cli.failures import CommandFailed, Exit
from aegis.cli.output import Format, print_json, say, table
from aegis.documents import DocumentError, Note, Row, load_manifest
from aegis.errors import AegisError


def refuse(error: AegisError) -> CommandFailed:
    document: dict[str, Any] = {"code": error.code, "detail": error.message, "next_step": error.next_step}
    if isinstance(error, DocumentError):
        document.update(error.as_json())
    return CommandFailed(error.message, exit_code=Exit.REFUSED, next_step=error.next_step, document=document)


def explain_manifest(text: str, source: str, output: Format) -> None:
    try:
        loaded = load_manifest(text, source)
    except AegisError as error:
        raise refuse(error) from error
    print_rows(loaded.explanation, loaded.notes, output)


def load_node_config(path: str | None, secrets: Callable[[Any], Callable[[str], str]]) -> Any:
    """The `LoadedConfig` the daemon would run with; CommandFailed with every problem of it. `secrets` as `load_config`
    has it."""
    import os

    from aegis.config import load_config

    try:
        return load_config(Path(path) if path else None, os.environ, secrets=secrets)
    except AegisError as error:
        raise refuse(error) from error


def print_rows(rows: Sequence[Row], notes: Sequence[Note], output: Format) -> None:
    if output is Format.JSON:
        print_json(
            {
                "values": [{"path": row.path, "value": row.value, "from": row.where} for row in rows],
                "notes": [{"path": note.path, "line": note.line, "text": note.text} for note in notes],
            }
        )
        return
    table(("VALUE OF", "IS", "FROM"), [(row.path, row.value, row.where) for row in rows], "nothing")
    for note in notes:
        say(f"note: line {note.line}: {note.path}: {note.text}", "yellow")
