from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from aegis.api import ApiServer, create_dispatch_app
from tests.support.small_world import API_TOKEN, World


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
async def anonymous(server: ApiServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield session


@pytest.fixture
async def api(server: ApiServer) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {API_TOKEN}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}", headers=headers) as session:
        yield session


@pytest.fixture
async def bridge(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    """A session against what containers reach."""
    server = ApiServer(create_dispatch_app(world.create()), "127.0.0.1", 0)
    await server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield session
    await server.close()
