"""The database's failures in our words, and the schema's history."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from aegis.adapters.store import SqlStore, open_store
from aegis.adapters.store.database import Database, normalise
from aegis.adapters.store.tables import metadata
from aegis.errors import DatabaseUnavailable
from tests.support import samples
from tests.support.postgres import Cluster


@pytest.mark.parametrize(
    ("url", "driver", "query"),
    [
        ("sqlite:////var/lib/aegis/aegis.db", "sqlite+aiosqlite", {}),
        ("postgresql://u:p@db:5432/aegis?sslmode=require", "postgresql+asyncpg", {"ssl": "require"}),
        ("postgres://u@db/aegis", "postgresql+asyncpg", {}),
        ("postgresql+asyncpg://u@db/aegis", "postgresql+asyncpg", {}),
    ],
)
def test_usual_urls_get_our_drivers(url: str, driver: str, query: dict[str, str]) -> None:
    parsed = normalise(url)
    assert (parsed.drivername, dict(parsed.query)) == (driver, query)


@pytest.mark.parametrize("url", ["mysql://db/aegis", "nonsense", "sqlite://", "sqlite:///:memory:"])
def test_other_urls_are_refused_with_the_two_forms(url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="postgresql://user:password@host/database") as refused:
        normalise(url)
    assert not refused.value.retryable


async def test_a_database_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://aegis:geheim@/aegis?host={tmp_path}"
    with pytest.raises(DatabaseUnavailable, match="Is PostgreSQL running") as failed:
        await open_store(url, wait_seconds=0)
    assert failed.value.retryable
    assert "geheim" not in str(failed.value)


async def test_an_unknown_database_is_reported_by_name(postgres: Cluster) -> None:
    url = (await postgres.new_database_url()).replace("/test_", "/missing_")
    with pytest.raises(DatabaseUnavailable, match=r"missing_\d+.* does not exist"):
        await open_store(url, wait_seconds=0)


async def test_a_database_that_comes_late_is_waited_for(postgres: Cluster) -> None:
    url = await postgres.new_database_url()
    await asyncio.to_thread(postgres.stop)
    opening = asyncio.create_task(open_store(url, wait_seconds=60))
    await asyncio.to_thread(postgres.start)
    store = await opening
    await store.ping()
    await store.close()


async def test_a_restart_of_the_database_costs_no_call(postgres: Cluster) -> None:
    store = await open_store(await postgres.new_database_url())
    await asyncio.to_thread(postgres.stop)
    with pytest.raises(DatabaseUnavailable):
        await store.ping()
    await asyncio.to_thread(postgres.start)
    await store.append_events([samples.event("mount.refused")])
    assert len(await store.list_events("")) == 1
    await store.close()


async def test_a_missing_directory_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"absent/aegis\.db cannot be opened: No such file") as failed:
        await open_store(f"sqlite:///{tmp_path}/absent/aegis.db")
    assert not failed.value.retryable


async def test_a_file_that_is_no_database_is_reported(tmp_path: Path) -> None:
    (tmp_path / "aegis.db").write_bytes(b"something else entirely, longer than a page header" * 100)
    with pytest.raises(DatabaseUnavailable, match="not a database"):
        await open_store(f"sqlite:///{tmp_path}/aegis.db", wait_seconds=0)


async def test_the_sqlite_file_can_be_read_by_its_user_only(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = await open_store(f"sqlite:///{tmp_path}/aegis.db")
        await store.append_events([samples.event("mount.refused")])
        modes = {name: stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)}
        await store.close()
    finally:
        os.umask(before)
    assert modes["aegis.db"] == 0o600
    assert set(modes.values()) == {0o600}, "also what SQLite keeps beside it"


async def test_the_migrations_make_exactly_the_tables_of_the_code(store: SqlStore, url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    database = Database(url)
    async with database.read() as connection:
        assert await connection.run_sync(differences) == []
    await database.close()


async def test_a_database_of_a_later_version_is_left_alone(store: SqlStore, url: str) -> None:
    database = Database(url)
    async with database.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await database.close()
    with pytest.raises(DatabaseUnavailable, match="Install the version of aegis that wrote it") as failed:
        await open_store(url)
    assert not failed.value.retryable


async def test_no_answer_in_time_is_a_failure_that_may_pass(url: str) -> None:
    holder = await open_store(url)
    other = Database(url, transaction_seconds=0.05)
    async with holder._database.write() as connection:
        await connection.execute(text("UPDATE event_streams SET last_sequence = 1"))
        with pytest.raises(DatabaseUnavailable, match=r"no answer within 0\.05 s"):
            async with other.write() as blocked:
                await blocked.execute(text("UPDATE event_streams SET last_sequence = 2"))
    await other.close()
    await holder.close()
