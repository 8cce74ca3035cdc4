from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from aegis.api import ApiServer
from tests.support.small_world import API_TOKEN, World


@dataclass
class Ended:
    code: int
    out: str
    err: str


Run = Callable[..., Awaitable[Ended]]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def server(world: World) -> AsyncIterator[ApiServer]:
    server = ApiServer(world.create(heartbeat_seconds=0.05), "127.0.0.1", 0)
    await server.start()
    yield server
    await server.close()


@pytest.fixture
def environment(server: ApiServer, tmp_path: Path) -> dict[str, str]:
    """A user's of his own: no token file, no proxy that works, no terminal."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "AEGIS_API_URL": f"http://127.0.0.1:{server.port}",
        "AEGIS_API_TOKEN": API_TOKEN,
        "http_proxy": "http://127.0.0.1:9",
    }


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """`aegis ARGUMENTS` in a process of its own."""

    async def run(*arguments: str, stdin: bytes = b"", **changes: str) -> Ended:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "error",
            "-m",
            "aegis",
            *arguments,
            env={**environment, **changes},
            cwd=tmp_path,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())

    return run
