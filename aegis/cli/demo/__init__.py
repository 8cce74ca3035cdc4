"""`aegis demo`: the whole path on this machine, with a scripted model, in a state directory of its own.

A daemon is started, an agent deployed whose first program is wrong, its iterations shown as they happen, its files read
back from the host, everything ended, and the engine asked whether anything of it is left.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from aegis.cli.agent import deploy_file
from aegis.cli.demo.node import DemoNode
from aegis.cli.failures import CommandFailed
from aegis.cli.output import Format, clean, say
from aegis.cli.task import watch

DEFAULT_IMAGE = "python:3.12-slim"
HERE = Path(__file__).parent


def demo(
    image: Annotated[str, typer.Option("--image", help="An image with Python 3.8 or newer.")] = DEFAULT_IMAGE,
    config: Annotated[
        str | None,
        typer.Option("--config", "-c", metavar="FILE", help="A node configuration to start from: where Docker is."),
    ] = None,
    allow_root: Annotated[bool, typer.Option("--allow-root", help="Run the daemon as root all the same.")] = False,
) -> None:
    """Run an example agent end to end; nothing stays behind. Needs Docker and an NFS client in the kernel.

    Example: aegis demo --image python:3.12-slim
    """
    with tempfile.TemporaryDirectory(prefix="aegis-demo-") as directory:
        node = DemoNode(Path(directory), base_config=Path(config) if config else None, allow_root=allow_root)
        with node.running():
            execution = run_agent(node, image)
            show_files(node, execution)
        left = asyncio.run(node.left_over())
    if left:
        names = ", ".join(f"{each.what} {each.name}" for each in left)
        raise CommandFailed(f"These are left on the engine: {names}", next_step="docker rm, docker volume rm")
    say("nothing is left on the engine: no container, no network, no volume", "dim")
    say(f"demo: completed in {len(execution['iterations'])} iterations", "green")


def run_agent(node: DemoNode, image: str) -> dict[str, Any]:
    """The execution once it is completed; CommandFailed when it ended otherwise."""
    manifest = node.directory / "agent.yaml"
    manifest.write_text((HERE / "agent.yaml").read_text().replace("@IMAGE@", image))
    agent = deploy_file(node.client, str(manifest))
    execution = node.client.post("/v1/executions", {"agent": agent["id"], "input": ""})
    watch(node.client, execution["id"], Format.TEXT, show=True)
    ended: dict[str, Any] = node.client.get(f"/v1/executions/{execution['id']}")
    if ended["state"] != "completed":
        raise CommandFailed(f"The execution is {ended['state']}: {ended['error']}", next_step=f"See {node.log}")
    return ended


def show_files(node: DemoNode, execution: dict[str, Any]) -> None:
    """The workspace as the host has it; then the volume is deleted, since the demo leaves nothing."""
    for volume in node.client.get("/v1/volumes")["items"]:
        directory = node.volume_directory(volume)
        say(f"the workspace on the host, {directory}:", "bold")
        for path in sorted(directory.rglob("*")):
            st = path.stat()
            say(f"  {path.relative_to(directory)}  {st.st_size} bytes, uid {st.st_uid} (the daemon's: {os.getuid()})")
            if path.is_file():
                for line in path.read_text(errors="replace").splitlines():
                    say(f"    {clean(line)}", "dim")
        node.client.delete(f"/v1/volumes/{volume['id']}")
