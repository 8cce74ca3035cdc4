"""`aegis agent`: deploy manifests, look at what is deployed, and see where each value of a manifest comes from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from aegis.cli.client import Client
from aegis.cli.failures import CommandFailed, Exit
from aegis.cli.output import Format, Output, fields, print_json, say, table, when
from aegis.cli.session import connect

app = typer.Typer(name="agent", help="Agents: deployed manifests.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="AGENT", help="An agent's name, or the id of one deployment.")]
File = Annotated[str, typer.Argument(metavar="FILE", help="A manifest (YAML or JSON); - is the standard input.")]


def read_text(file: str) -> str:
    """A document's text; CommandFailed (usage) when there is none."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{file} cannot be read: {error}", exit_code=Exit.USAGE) from error


def deploy_file(client: Client, file: str) -> dict[str, Any]:
    import json

    text = read_text(file)
    path = "/v1/agents?" + urlencode({"source": "standard input" if file == "-" else file})
    answer = json.loads(client.call("POST", path, text.encode() or b"\n", "application/yaml"))
    return dict(answer)


@app.command()
def deploy(context: typer.Context, files: list[str], output: Output = Format.TEXT) -> None:
    """Deploy one or more manifests. All faults of a file are told at once.

    Example: aegis agent deploy hello.yaml
    """
    client = connect(context)
    deployed = [deploy_file(client, file) for file in files]
    if output is Format.JSON:
        print_json(deployed if len(deployed) > 1 else deployed[0])
        return
    for agent in deployed:
        say(f"deployed {agent['name']} {agent['version']} ({agent['id']})", "green")


@app.command("list")
def list_agents(context: typer.Context, output: Output = Format.TEXT) -> None:
    """The deployed agents, newest first.

    Example: aegis agent list --output json
    """
    items = connect(context).get("/v1/agents", limit=1000)["items"]
    if output is Format.JSON:
        print_json(items)
        return
    rows = [(a["name"], a["version"], when(a["created_at"]), a["id"], a["description"][:60]) for a in items]
    table(("NAME", "VERSION", "DEPLOYED", "ID", "DESCRIPTION"), rows, "no agents; deploy one: aegis agent deploy FILE")


@app.command()
def show(context: typer.Context, agent: Name, output: Output = Format.TEXT) -> None:
    """One agent with its manifest as the daemon understood it.

    Example: aegis agent show hello
    """
    found = connect(context).get(f"/v1/agents/{quote(agent, safe='')}")
    if output is Format.JSON:
        print_json(found)
        return
    manifest = found["manifest"]
    runtime = manifest["runtime"]
    fields(
        {
            "name": found["name"],
            "version": found["version"],
            "id": found["id"],
            "deployed": when(found["created_at"]),
            "description": found["description"],
            "image": runtime["image"] or f"{runtime['language']} {runtime['version'] or ''}".strip(),
            "model": runtime["model_alias"],
            "iterations": f"at most {manifest['execution']['max_iterations']}, {manifest['execution']['mode']}",
            "validators": ", ".join(validator["type"] for validator in manifest["execution"]["validators"]),
            "volumes": ", ".join(f"{v['name']} at {v['mount_path']} ({v['access_mode']})" for v in manifest["volumes"]),
            "tools": ", ".join(manifest["tools"]),
            "instruction": manifest["instruction"],
        }
    )


@app.command()
def remove(context: typer.Context, agent: Name, output: Output = Format.TEXT) -> None:
    """Remove an agent. Its executions, and what they wrote, stay.

    Example: aegis agent remove hello
    """
    connect(context).delete(f"/v1/agents/{quote(agent, safe='')}")
    if output is Format.JSON:
        print_json({"removed": agent})
    else:
        say(f"removed {agent}")


@app.command()
def explain(file: File, output: Output = Format.TEXT) -> None:
    """Print every value of a manifest and where it comes from. Needs no daemon.

    Example: aegis agent explain hello.yaml
    """
    from aegis.cli.documents import explain_manifest

    explain_manifest(read_text(file), file, output)
