"""Bring the database to this version's schema, once, whoever starts first.

Everything happens in one transaction under a lock: SQLite's write lock, or an advisory lock of PostgreSQL that the
transaction's end releases. A second daemon that starts at the same time waits and then finds nothing to do; a migration
that fails changes nothing (both engines have transactional DDL).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, text

from aegis.adapters.store.database import Database
from aegis.errors import DatabaseUnavailable

MIGRATE_SECONDS: Final = 600.0
ADVISORY_LOCK: Final = 0x61656769735F6462  # "aegis_db"
SCRIPTS: Final = Path(__file__).resolve().parent / "migrations"


def alembic_config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


async def migrate(database: Database) -> None:
    """DatabaseUnavailable (not retryable) when the database was written by a later version."""
    try:
        async with database.write(seconds=MIGRATE_SECONDS) as connection:
            if not database.is_sqlite:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            await connection.run_sync(_upgrade)
    except CommandError as error:
        raise DatabaseUnavailable(
            f"The database {database.name} has a schema this version does not know: {error}",
            next_step="Install the version of aegis that wrote it, or a later one",
            retryable=False,
        ) from error


def _upgrade(connection: Connection) -> None:
    command.upgrade(alembic_config(connection), "head")
