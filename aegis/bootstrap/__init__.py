"""The agent's side of the dispatch protocol, and how it gets into a container (docs/adr/0013).

Two programs say the same: `bootstrap.py`, run by whatever Python 3.8+ the image has, and `agent-ARCHITECTURE`, a static
program of 30 KB made from `native/`, which needs nothing of the image at all. A container starts the second, which
gives way to the first where there is a Python. Neither is imported or run by the orchestrator: package data, read as
bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

DIRECTORY = "/aegis"
SCRIPT_PATH = f"{DIRECTORY}/bootstrap.py"
ARCHITECTURES = ("amd64", "arm64")  # as Docker and OCI images call them


def files_for_containers() -> Mapping[str, bytes]:
    """Path in the container -> content: the same for every image, so that one volume serves all."""
    found = {SCRIPT_PATH: _read("bootstrap.py")}
    return found | {program_path(each): _read(f"agent-{each}") for each in ARCHITECTURES}


def command_for(architecture: str) -> tuple[str, ...]:
    """What starts a container of this architecture. Where there is no program of ours the image needs a Python."""
    if architecture in ARCHITECTURES:
        return (program_path(architecture), SCRIPT_PATH)
    return ("python3", SCRIPT_PATH)


def program_path(architecture: str) -> str:
    return f"{DIRECTORY}/agent-{architecture}"


def _read(name: str) -> bytes:
    return files(__name__).joinpath(name).read_bytes()
