"""`aegis bundle`: agents and their images as one file, for hosts without a registry."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from aegis.cli.failures import CommandFailed, Exit
from aegis.cli.output import Format, Live, Output, bar, print_json, say, size
from aegis.cli.session import connect

app = typer.Typer(name="bundle", help="Agents and their images as one file, for offline hosts.", no_args_is_help=True)

PIECE_BYTES = 1 << 20
TAR = "application/x-tar"


@app.command()
def save(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where it is written; replaced only when it is whole.")],
    agents: Annotated[list[str] | None, typer.Argument(metavar="[AGENT]...", help="Deployed agents.")] = None,
    image: Annotated[list[str] | None, typer.Option("--image", help="An image besides; may be repeated.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Write agents, those that judge for them, and their images into one file. Missing images are pulled.

    Example: aegis bundle save review.tar code-reviewer
    """
    client = connect(context)
    live = Live()
    path = Path(file)
    draft = path.with_name(f".{path.name}.{os.getpid()}.partial")
    live.passing("waiting for the images", "dim")
    try:
        with client.download("/v1/bundles", {"agents": agents or [], "images": image or []}) as pieces:
            written = _write(draft, pieces, live)
        draft.replace(path)
    except OSError as error:
        raise CommandFailed(f"{file} cannot be written: {error.strerror or error}") from error
    finally:
        live.clear()
        draft.unlink(missing_ok=True)
    if output is Format.JSON:
        print_json({"file": file, "bytes": written})
    else:
        say(f"saved {file} ({size(written)})", "green")


def _write(path: Path, pieces: Iterator[bytes], live: Live) -> int:
    """On the disk when it returns, and whole."""
    written = 0
    with path.open("xb") as file:
        for piece in pieces:
            file.write(piece)
            written += len(piece)
            live.passing(f"{size(written)} written", "dim")
        file.flush()
        os.fsync(file.fileno())
    return written


@app.command()
def load(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `aegis bundle save` has written.")],
    output: Output = Format.TEXT,
) -> None:
    """Take a bundle: images into the engine, agents deployed. A damaged file is refused, and its part is named.

    Example: aegis bundle load review.tar
    """
    client = connect(context)
    live = Live()
    try:
        with open(file, "rb") as source:
            total = os.fstat(source.fileno()).st_size
            answer = client.upload("PUT", "/v1/bundles", _read(source, total, live), total, TAR)
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}", exit_code=Exit.USAGE) from error
    finally:
        live.clear()
    loaded = json.loads(answer)
    if output is Format.JSON:
        print_json(loaded)
        return
    for image in loaded["images"]:
        say(f"image {image['reference']} ({image['id'][:19]}, {image['architecture']})")
    for agent in loaded["agents"]:
        say(f"deployed {agent['name']} {agent['version']} ({agent['id']})", "green")
    for runtime in loaded["unknown_runtimes"]:
        say(_runtime_note(runtime), "yellow")


def _read(source: BinaryIO, total: int, live: Live) -> Iterator[bytes]:
    done = 0
    while piece := source.read(PIECE_BYTES):
        yield piece
        done += len(piece)
        live.passing(f"loading {bar(done, total)} {size(done)} of {size(total)}", "dim")


def _runtime_note(runtime: dict[str, Any]) -> str:
    return (
        f"note: {runtime['language']} {runtime['version']} was {runtime['image']} where the bundle was made;"
        " this node's runtime-registry.yaml says otherwise"
    )
