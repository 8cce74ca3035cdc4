"""Executions, their iterations and the state of their inner loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from aegis.adapters.store.events import open_stream
from aegis.adapters.store.rows import execution_of, execution_values, iteration_of, iteration_values
from aegis.adapters.store.tables import executions, inner_loops, iterations
from aegis.domain.execution import FINAL_STATES, Execution, ExecutionState
from aegis.domain.iteration import Iteration
from aegis.errors import Conflict, NotFound


async def add(connection: AsyncConnection, execution: Execution) -> None:
    await connection.execute(insert(executions).values(execution_values(execution)))
    await open_stream(connection, execution.id)


async def get(connection: AsyncConnection, execution_id: str) -> Execution:
    row = (await connection.execute(select(executions).where(executions.c.id == execution_id))).first()
    if row is None:
        raise NotFound(f"There is no execution {execution_id}", next_step="`aegis task list` shows those there are")
    return execution_of(row)


async def newest(
    connection: AsyncConnection, tenant_id: str | None, states: Sequence[ExecutionState], limit: int
) -> list[Execution]:
    query = select(executions).order_by(executions.c.created_at.desc(), executions.c.id).limit(limit)
    if tenant_id is not None:
        query = query.where(executions.c.tenant_id == tenant_id)
    if states:
        query = query.where(executions.c.state.in_([state.value for state in states]))
    return [execution_of(row) for row in await connection.execute(query)]


async def unfinished(connection: AsyncConnection, node_id: str) -> list[Execution]:
    query = (
        select(executions)
        .where(executions.c.state.in_([state.value for state in ExecutionState if state not in FINAL_STATES]))
        .where((executions.c.node_id == node_id) | executions.c.node_id.is_(None))
        .order_by(executions.c.created_at, executions.c.id)
    )
    return [execution_of(row) for row in await connection.execute(query)]


async def replace(connection: AsyncConnection, execution: Execution, expect: ExecutionState) -> None:
    changed = await connection.execute(
        update(executions)
        .where(executions.c.id == execution.id, executions.c.state == expect.value)
        .values(execution_values(execution))
    )
    if changed.rowcount == 0:
        found = await get(connection, execution.id)
        raise Conflict(f"Execution {found.id} is {found.state.value}, not {expect.value}")


async def add_iteration(connection: AsyncConnection, iteration: Iteration) -> None:
    await connection.execute(insert(iterations).values(iteration_values(iteration)))


async def replace_iteration(connection: AsyncConnection, iteration: Iteration) -> None:
    changed = await connection.execute(
        update(iterations)
        .where(iterations.c.execution_id == iteration.execution_id, iterations.c.number == iteration.number)
        .values(iteration_values(iteration))
    )
    if changed.rowcount == 0:
        raise NotFound(f"Execution {iteration.execution_id} has no iteration {iteration.number}")


async def iterations_of(connection: AsyncConnection, execution_id: str) -> list[Iteration]:
    rows = await connection.execute(
        select(iterations).where(iterations.c.execution_id == execution_id).order_by(iterations.c.number)
    )
    return [iteration_of(row) for row in rows]


async def save_inner_loop(
    connection: AsyncConnection, execution_id: str, iteration: int, state: Mapping[str, Any]
) -> None:
    key = (inner_loops.c.execution_id == execution_id) & (inner_loops.c.iteration == iteration)
    changed = await connection.execute(update(inner_loops).where(key).values(state=dict(state)))
    if changed.rowcount == 0:
        values = {"execution_id": execution_id, "iteration": iteration, "state": dict(state)}
        await connection.execute(insert(inner_loops).values(values))


async def load_inner_loop(connection: AsyncConnection, execution_id: str, iteration: int) -> Mapping[str, Any] | None:
    rows = await connection.execute(
        select(inner_loops.c.state).where(
            inner_loops.c.execution_id == execution_id, inner_loops.c.iteration == iteration
        )
    )
    state: Mapping[str, Any] | None = rows.scalar_one_or_none()
    return state
