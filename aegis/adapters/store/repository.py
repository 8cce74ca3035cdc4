"""`SqlStore`: the `Store` port. Every method is one transaction; what it does stands in the module of its noun."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from aegis.adapters.store import agents, executions, volumes
from aegis.adapters.store import usage as usages
from aegis.adapters.store.database import Database
from aegis.adapters.store.events import append, events_after
from aegis.adapters.store.migrate import migrate
from aegis.domain.events import Event
from aegis.domain.execution import Agent, Execution, ExecutionState
from aegis.domain.iteration import Iteration
from aegis.domain.volume import Attachment, Volume, VolumeState
from aegis.errors import DatabaseUnavailable
from aegis.ports import ModelUsage

logger = logging.getLogger(__name__)

LIST_MAX: Final = 1000
START_SECONDS: Final = 60.0  # PostgreSQL may be starting beside us
START_PAUSE_MAX_SECONDS: Final = 5.0


async def open_store(url: str, *, wait_seconds: float = START_SECONDS) -> SqlStore:
    """Connect, migrate, and only then be there. A database that is away is waited for, at most `wait_seconds`.

    DatabaseUnavailable with the last reason; at once when trying again makes no sense."""
    database = Database(url)
    try:
        database.make_file()
        await _reach(database, wait_seconds)
        await migrate(database)
    except BaseException:
        await database.close()
        raise
    return SqlStore(database)


async def _reach(database: Database, wait_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_seconds
    pause = 0.1
    while True:
        try:
            return await database.ping()
        except DatabaseUnavailable as error:
            if not error.retryable or loop.time() + pause > deadline:
                raise
            logger.warning("%s Trying again in %.1f s", error, pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, START_PAUSE_MAX_SECONDS)


def _bounded(limit: int) -> int:
    return max(1, min(limit, LIST_MAX))


class SqlStore:
    """Made by `open_store`. Safe to use from any number of tasks of one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ---- agents ----

    async def add_agent(self, agent: Agent) -> None:
        async with self._database.write() as connection:
            await agents.add(connection, agent)

    async def get_agent(self, tenant_id: str, name_or_id: str) -> Agent:
        async with self._database.read() as connection:
            return await agents.get(connection, tenant_id, name_or_id)

    async def list_agents(self, tenant_id: str, *, limit: int = 100) -> list[Agent]:
        """The latest deployment of each name."""
        async with self._database.read() as connection:
            return await agents.latest(connection, tenant_id, _bounded(limit))

    async def remove_agent(self, tenant_id: str, name: str) -> None:
        async with self._database.write() as connection:
            await agents.remove(connection, tenant_id, name)

    # ---- executions ----

    async def add_execution(self, execution: Execution, events: Sequence[Event] = ()) -> None:
        async with self._database.write() as connection:
            await executions.add(connection, execution)
            await append(connection, events)

    async def get_execution(self, execution_id: str) -> Execution:
        async with self._database.read() as connection:
            return await executions.get(connection, execution_id)

    async def list_executions(
        self, tenant_id: str | None = None, *, states: Sequence[ExecutionState] = (), limit: int = 100
    ) -> list[Execution]:
        async with self._database.read() as connection:
            return await executions.newest(connection, tenant_id, states, _bounded(limit))

    async def list_unfinished(self, node_id: str) -> list[Execution]:
        async with self._database.read() as connection:
            return await executions.unfinished(connection, node_id)

    async def update_execution(
        self, execution: Execution, *, expect: ExecutionState, events: Sequence[Event] = ()
    ) -> None:
        async with self._database.write() as connection:
            await executions.replace(connection, execution, expect)
            await append(connection, events)

    # ---- iterations ----

    async def add_iteration(self, iteration: Iteration, events: Sequence[Event] = ()) -> None:
        async with self._database.write() as connection:
            await executions.add_iteration(connection, iteration)
            await append(connection, events)

    async def update_iteration(self, iteration: Iteration, events: Sequence[Event] = ()) -> None:
        async with self._database.write() as connection:
            await executions.replace_iteration(connection, iteration)
            await append(connection, events)

    async def list_iterations(self, execution_id: str) -> list[Iteration]:
        async with self._database.read() as connection:
            return await executions.iterations_of(connection, execution_id)

    async def save_inner_loop(
        self, execution_id: str, iteration: int, state: Mapping[str, Any], events: Sequence[Event] = ()
    ) -> None:
        async with self._database.write() as connection:
            await executions.save_inner_loop(connection, execution_id, iteration, state)
            await append(connection, events)

    async def load_inner_loop(self, execution_id: str, iteration: int) -> Mapping[str, Any] | None:
        async with self._database.read() as connection:
            return await executions.load_inner_loop(connection, execution_id, iteration)

    async def add_usage(self, execution_id: str, usage: ModelUsage) -> None:
        async with self._database.write() as connection:
            await usages.add(connection, execution_id, usage)

    async def list_usage(self, execution_id: str) -> list[ModelUsage]:
        async with self._database.read() as connection:
            return await usages.of(connection, execution_id)

    # ---- volumes ----

    async def add_volume(self, volume: Volume, events: Sequence[Event] = ()) -> None:
        async with self._database.write() as connection:
            await volumes.add(connection, volume)
            await append(connection, events)

    async def get_volume(self, tenant_id: str, volume_id: str) -> Volume:
        async with self._database.read() as connection:
            return await volumes.get(connection, tenant_id, volume_id)

    async def list_volumes(
        self,
        tenant_id: str | None = None,
        *,
        states: Sequence[VolumeState] = (),
        owner_execution_id: str | None = None,
        limit: int = LIST_MAX,
    ) -> list[Volume]:
        async with self._database.read() as connection:
            return await volumes.newest(connection, tenant_id, states, owner_execution_id, _bounded(limit))

    async def update_volume(self, volume: Volume, *, expect: VolumeState, events: Sequence[Event] = ()) -> None:
        async with self._database.write() as connection:
            await volumes.replace(connection, volume, expect)
            await append(connection, events)

    async def add_attachment(self, attachment: Attachment, events: Sequence[Event] = ()) -> None:
        async with self._database.write() as connection:
            await volumes.add_attachment(connection, attachment)
            await append(connection, events)

    async def end_attachment(self, attachment_id: str, at: datetime, events: Sequence[Event] = ()) -> None:
        async with self._database.write() as connection:
            if await volumes.end_attachment(connection, attachment_id, at):
                await append(connection, events)

    async def list_attachments(
        self, *, execution_id: str | None = None, volume_id: str | None = None, live_only: bool = True
    ) -> list[Attachment]:
        async with self._database.read() as connection:
            return await volumes.list_attachments(connection, execution_id, volume_id, live_only)

    # ---- events ----

    async def append_events(self, events: Sequence[Event]) -> None:
        if not events:
            return
        async with self._database.write() as connection:
            await append(connection, events)

    async def list_events(self, execution_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        async with self._database.read() as connection:
            return await events_after(connection, execution_id, after, _bounded(limit))

    # ---- the whole ----

    async def ping(self) -> None:
        await self._database.ping()

    async def close(self) -> None:
        await self._database.close()
