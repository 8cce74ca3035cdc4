"""One real engine for all tests of this package; a fresh adapter, and a clean engine afterwards, for each."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from aegis.adapters.docker import DockerEngine
from tests.support import host_docker
from tests.support.fake_engine import FakeEngine
from tests.support.host_docker import HostDocker


@pytest.fixture(scope="session")
def docker_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostDocker]:
    if reason := host_docker.missing():
        pytest.skip(reason)
    host = HostDocker(tmp_path_factory.mktemp("docker"))
    try:
        host.start()
        yield host
    finally:
        host.stop()


class Connect(Protocol):
    """Opens another adapter; all are closed after the test, however it ends."""

    def __call__(self, url: str | Path, credentials: Any = None, **options: Any) -> DockerEngine: ...


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with contextlib.AsyncExitStack() as stack:

        def open_(url: str | Path, credentials: Any = None, **options: Any) -> DockerEngine:
            engine = DockerEngine(str(url), credentials, **options)
            stack.push_async_callback(engine.close)
            return engine

        yield open_


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    fake = FakeEngine(tmp_path)
    await fake.start()
    yield fake
    fake.pull_gate.set()
    await fake.stop()


@pytest.fixture
async def engine(docker_host: HostDocker, connect: Connect) -> AsyncIterator[DockerEngine]:
    engine = connect(docker_host.socket_path)
    yield engine
    for item in await engine.list_managed():
        match item.what:
            case "container":
                await engine.remove_container(item.id)
            case "network":
                await engine.remove_network(item.id)
            case "volume":
                await engine.remove_volume(item.name)
