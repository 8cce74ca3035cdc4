"""`aegis volume`: the volumes, and their files without a container."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from aegis.cli.failures import CommandFailed, Exit
from aegis.cli.output import Format, Output, clean, fields, print_json, say, size, table, when
from aegis.cli.session import connect

app = typer.Typer(name="volume", help="Volumes: directories that outlive containers.", no_args_is_help=True)

Volume = Annotated[str, typer.Argument(metavar="VOLUME", help="A volume's name or id.")]
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def parse_size(text: str) -> int:
    """`500Mi`, `2G`, `1048576` in bytes."""
    match = re.fullmatch(r"(\d{1,15})([KMGT]i?)?B?", text)
    if match is None or int(match[1]) == 0:
        raise typer.BadParameter(f"{text!r}, wanted a size such as 500Mi, 2Gi or 1048576")
    return int(match[1]) * UNITS[match[2] or ""]


@app.command("list")
def list_volumes(
    context: typer.Context,
    deleted: Annotated[bool, typer.Option("--deleted", help="Also those that are gone.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """The volumes, newest first.

    Example: aegis volume list
    """
    items = connect(context).get("/v1/volumes", limit=1000, deleted="true" if deleted else None)["items"]
    if output is Format.JSON:
        print_json(items)
        return
    rows = [
        (v["name"], v["state"], v["storage_class"], size(v["size_limit_bytes"]), when(v["created_at"]), v["id"])
        for v in items
    ]
    table(("NAME", "STATE", "CLASS", "LIMIT", "CREATED", "ID"), rows, "no volumes")


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits, dots, dashes.")],
    limit: Annotated[str | None, typer.Option("--size", help="Most bytes it may hold: 500Mi, 2Gi.")] = None,
    ttl_hours: Annotated[float | None, typer.Option("--ttl-hours", help="Delete it after so many hours.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Create a persistent volume.

    Example: aegis volume create datasets --size 2Gi
    """
    wanted = {"name": name, "size_limit_bytes": parse_size(limit) if limit else None, "ttl_hours": ttl_hours}
    volume = connect(context).post("/v1/volumes", wanted)
    if output is Format.JSON:
        print_json(volume)
    else:
        say(f"created {volume['name']} ({volume['id']})", "green")


@app.command()
def show(context: typer.Context, volume: Volume, output: Output = Format.TEXT) -> None:
    """One volume: its usage, and which executions have it attached.

    Example: aegis volume show datasets
    """
    found = connect(context).get(f"/v1/volumes/{quote(volume, safe='')}")
    if output is Format.JSON:
        print_json(found)
        return
    usage = found["usage"] or {}
    fields(
        {
            "name": found["name"],
            "id": found["id"],
            "state": found["state"],
            "class": found["storage_class"],
            "used": f"{size(usage['bytes_used'])} in {usage['files']} files" if usage else "",
            "limit": size(found["size_limit_bytes"]),
            "export": found["export_path"],
            "created": when(found["created_at"]),
            "expires": when(found["expires_at"]),
            "attached by": "\n".join(f"{a['execution_id']} ({a['access_mode']})" for a in found["attachments"] or []),
            "error": found["error"],
        }
    )


@app.command()
def ls(
    context: typer.Context,
    place: Annotated[str, typer.Argument(metavar="VOLUME[:PATH]")],
    output: Output = Format.TEXT,
) -> None:
    """List a directory of a volume.

    Example: aegis volume ls datasets:/src
    """
    volume, _, path = place.partition(":")
    import json

    answer = connect(context).call("GET", _file_url(volume, path))
    try:
        items = json.loads(answer)["items"]
    except (ValueError, KeyError, TypeError):
        raise CommandFailed(f"{place} is a file, not a directory", exit_code=Exit.REFUSED) from None
    if output is Format.JSON:
        print_json(items)
        return
    for item in items:
        name = clean(item["name"]) + ("/" if item["kind"] == "directory" else "")
        print(f"{item['mode']}  {item['size_bytes']:>12}  {when(item['modified_at'])}  {name}")


@app.command()
def cp(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="A file here (- is the standard input), or VOLUME:PATH.")],
    target: Annotated[str, typer.Argument(help="VOLUME:PATH, or a file here (- is the standard output).")],
) -> None:
    """Copy one file into a volume or out of it.

    Example: aegis volume cp ./data.csv datasets:/data.csv
    """
    into, out_of = _is_remote(target), _is_remote(source)
    if into == out_of:
        raise CommandFailed(
            "One of the two must be in a volume, the other here",
            exit_code=Exit.USAGE,
            next_step="VOLUME:PATH names the first",
        )
    client = connect(context)
    if out_of:
        volume, _, path = source.partition(":")
        _write_local(target, os.path.basename(path.rstrip("/")), client.call("GET", _file_url(volume, path)))
        return
    volume, _, path = target.partition(":")
    if not path or path.endswith("/"):
        path = path + os.path.basename(source)
    content = sys.stdin.buffer.read() if source == "-" else _read_local(source)
    client.call("PUT", _file_url(volume, path), content, "application/octet-stream")


def _is_remote(place: str) -> bool:
    """`name:path`, as with scp: a path with a slash before the colon is a local one."""
    volume, colon, _ = place.partition(":")
    return bool(colon) and "/" not in volume and volume not in ("", ".")


def _read_local(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}", exit_code=Exit.USAGE) from error


def _write_local(target: str, name: str, content: bytes) -> None:
    if target == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    path = Path(target) / name if Path(target).is_dir() else Path(target)
    try:
        path.write_bytes(content)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}") from error


def _file_url(volume: str, path: str) -> str:
    encoded = quote(os.fsencode(path.strip("/")))
    return f"/v1/volumes/{quote(volume, safe='')}/files/{encoded}".rstrip("/")


@app.command()
def delete(
    context: typer.Context,
    volume: Volume,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """Delete a volume with everything in it. Refused while it is attached.

    Example: aegis volume delete datasets
    """
    if not yes:
        if not sys.stdin.isatty():
            raise CommandFailed("Nobody is there to ask", exit_code=Exit.USAGE, next_step="Add --yes")
        typer.confirm(f"Delete volume {volume} and all its files?", abort=True)
    connect(context).delete(f"/v1/volumes/{quote(volume, safe='')}")
    if output is Format.JSON:
        print_json({"deleted": volume})
    else:
        say(f"deleted {volume}")
