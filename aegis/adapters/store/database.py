"""One engine: connections, transactions, deadlines, and the database's failures in our words.

The rules to know: nothing else here opens a connection, and every method of the store is one `read()` or one
`write()`. On SQLite a writer takes the write lock when it begins (`BEGIN IMMEDIATE`): a transaction that reads first
and writes then would otherwise fail with "database is locked" whatever the busy timeout. Writers of this process queue
on a lock of our own instead, since SQLite's busy handler polls.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Final

import asyncpg  # type: ignore[import-untyped]  # for its errors: SQLAlchemy passes those of a connect on as they are
from sqlalchemy import Connection, event, exc, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from aegis.errors import Conflict, DatabaseUnavailable

logger = logging.getLogger(__name__)

TRANSACTION_SECONDS: Final = 30.0
BUSY_MILLISECONDS: Final = 10_000  # another process (a backup, a second daemon) holds SQLite's write lock
CONNECTIONS: Final = 10
CONNECT_SECONDS: Final = 10.0
WRITES = "aegis_writes"
OURS = (exc.ProgrammingError, exc.DataError, exc.NotSupportedError)  # we are wrong: nothing to translate


def normalise(url: str) -> URL:
    """The URL with our drivers: `sqlite:///PATH`, `postgresql://...`, `postgres://...`; knows libpq's `sslmode`.

    DatabaseUnavailable (not retryable) for anything else."""
    try:
        parsed = make_url(url)
    except exc.ArgumentError as error:
        raise _unusable("The database URL cannot be read") from error
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise _unusable("The database URL names SQLite without a file: state has to survive the daemon")
        return parsed.set(drivername="sqlite+aiosqlite")
    if backend in ("postgresql", "postgres"):
        query = {("ssl" if key == "sslmode" else key): value for key, value in parsed.query.items()}
        return parsed.set(drivername="postgresql+asyncpg", query=query)
    raise _unusable(f"The database URL names {backend!r}")


def _unusable(what: str) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        what, next_step="Use sqlite:////path/to/aegis.db or postgresql://user:password@host/database", retryable=False
    )


class Database:
    """Owns the engine; `close()` returns when every connection is closed."""

    def __init__(self, url: str, *, transaction_seconds: float = TRANSACTION_SECONDS) -> None:
        self._url = normalise(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self._seconds = transaction_seconds
        self._engine = self._sqlite() if self.is_sqlite else self._postgresql()
        self._writer = self._engine.execution_options(**{WRITES: True})
        self._write_lock: asyncio.Lock | None = asyncio.Lock() if self.is_sqlite else None

    @property
    def name(self) -> str:
        """For messages: without the password."""
        return self._url.render_as_string(hide_password=True)

    def _sqlite(self) -> AsyncEngine:
        engine = create_async_engine(self._url, pool_size=CONNECTIONS, max_overflow=0)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine

    def _postgresql(self) -> AsyncEngine:
        return create_async_engine(
            self._url,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_pre_ping=True,  # a restart of PostgreSQL costs a reconnect, not an error
            connect_args={"timeout": CONNECT_SECONDS, "server_settings": {"application_name": "aegis"}},
        )

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection to read from: one snapshot on SQLite, one for each statement on PostgreSQL."""
        async with self._translated(self._seconds), self._engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def write(self, *, seconds: float | None = None) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed when the block ends, rolled back when it raises. Conflict: a constraint says no."""
        lock: AbstractAsyncContextManager[Any] = self._write_lock or nullcontext()
        async with self._translated(seconds or self._seconds), lock, self._writer.begin() as connection:
            yield connection

    async def ping(self) -> None:
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self._engine.dispose()

    def make_file(self) -> None:
        """SQLite's file for our user only, before anybody can open it: it holds what agents were told and answered."""
        path = self._url.database
        if not self.is_sqlite or path is None:
            return
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise DatabaseUnavailable(
                f"The database file {path} cannot be opened: {error.strerror}",
                next_step="Its directory has to exist and belong to the daemon's user",
                retryable=False,
            ) from error

    @asynccontextmanager
    async def _translated(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except exc.IntegrityError as error:
            raise Conflict(
                f"The database refused a change that contradicts what it holds: {_first_line(error)}"
            ) from error
        except OURS:
            raise
        except TimeoutError as error:
            raise self._unavailable(f"no answer within {seconds:g} s") from error
        except (exc.DBAPIError, exc.TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise self._unavailable(_first_line(error)) from error

    def _unavailable(self, reason: str) -> DatabaseUnavailable:
        hint = (
            "Is the disk full, or another process holding the file?"
            if self.is_sqlite
            else "Is PostgreSQL running, and are user, password and database of `database.url` right?"
        )
        return DatabaseUnavailable(f"The database {self.name} failed: {reason}", next_step=hint)


def _first_line(error: BaseException) -> str:
    origin = getattr(error, "orig", None) or error
    lines = str(origin).splitlines()
    return lines[0] if lines else type(origin).__name__


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions behind our back
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {BUSY_MILLISECONDS}",
        "journal_mode = WAL",  # readers do not wait for the writer
        "synchronous = FULL",  # what was committed survives a power cut as well
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
