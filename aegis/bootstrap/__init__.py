"""The agent's side of the dispatch protocol, and how the daemon finds it.

`bootstrap.py` is never imported by the orchestrator: it is put into every agent container as a file and run there by
whatever Python 3.8+ the image has. Hence package data, read as bytes.
"""

from __future__ import annotations

from importlib.resources import files

CONTAINER_PATH = "/aegis/bootstrap.py"
COMMAND = ("python3", CONTAINER_PATH)


def source() -> bytes:
    """The text of `bootstrap.py`, as it goes into a container at `CONTAINER_PATH`."""
    return files(__name__).joinpath("bootstrap.py").read_bytes()
