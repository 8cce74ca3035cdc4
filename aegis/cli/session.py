"""What every command shares: where the daemon is, and which ids the user meant."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import typer

from aegis.cli.client import Client
from aegis.cli.failures import CommandFailed, Exit

ID_LENGTH = 36
PREFIX_MIN = 4


@dataclass
class Session:
    url: str | None = None


def connect(context: typer.Context) -> Client:
    session = context.find_object(Session)
    return Client(session.url if session else None)


def execution_id(client: Client, text: str) -> str:
    """A whole id, or the beginning of one (at least four characters) that only one recent execution has."""
    if len(text) >= ID_LENGTH:
        return quote(text, safe="")
    if len(text) < PREFIX_MIN:
        raise CommandFailed(
            f"{text!r} is too short for an execution's id", exit_code=Exit.USAGE, next_step="aegis task list"
        )
    items = client.get("/v1/executions", limit=1000)["items"]
    found = [item["id"] for item in items if item["id"].startswith(text)]
    if len(found) == 1:
        return str(found[0])
    if found:
        raise CommandFailed(
            f"{len(found)} executions begin with {text}",
            exit_code=Exit.REFUSED,
            next_step=f"Say more: {', '.join(found[:5])}",
        )
    raise CommandFailed(f"There is no execution {text}", exit_code=Exit.NOT_FOUND, next_step="aegis task list")
