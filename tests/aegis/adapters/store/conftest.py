"""The store on each engine. PostgreSQL is a private cluster made once a run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from aegis.adapters.store import SqlStore, open_store
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
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'aegis.db'}"
    cluster: Cluster = request.getfixturevalue("postgres")
    return await cluster.new_database_url()


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    store = await open_store(url, wait_seconds=5)
    yield store
    await store.close()
