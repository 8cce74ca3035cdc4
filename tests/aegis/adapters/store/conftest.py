"""The store on each engine. PostgreSQL is a private cluster made once a run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from aegis.adapters.store import SqlStore, open_store
from aegis.ports import Store
from tests.support.memory_store import MemoryStore
from tests.support.postgres import Cluster, binaries, private_cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    programs = binaries()
    if programs is None:
        pytest.skip("no PostgreSQL server programs (initdb) on this machine: `apt-get install postgresql`")
    with private_cluster(programs) as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return await make_url(request, request.param, tmp_path)


async def make_url(request: pytest.FixtureRequest, engine: str, tmp_path: Path) -> str:
    if engine == "sqlite":
        return f"sqlite:///{tmp_path / 'aegis.db'}"
    cluster: Cluster = request.getfixturevalue("postgres")
    return await cluster.new_database_url()


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    store = await open_store(url, wait_seconds=5)
    yield store
    await store.close()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """The real ones, and the one that tests of services use in their place: it has to keep the same contract."""
    if request.param == "memory":
        yield MemoryStore()
        return
    store = await open_store(await make_url(request, request.param, tmp_path), wait_seconds=5)
    yield store
    await store.close()
