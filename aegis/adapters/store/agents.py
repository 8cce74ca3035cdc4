"""Agents: every deployment of a name is a row; the one with the highest number is the agent of that name."""

from __future__ import annotations

from sqlalchemy import delete, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aegis.adapters.store.rows import agent_of, agent_values
from aegis.adapters.store.tables import agents
from aegis.domain.execution import Agent
from aegis.errors import NotFound


async def add(connection: AsyncConnection, agent: Agent) -> None:
    """Two deployments of one name at once: on PostgreSQL one of them meets the unique index (Conflict), never both."""
    same = (agents.c.tenant_id == agent.tenant_id) & (agents.c.name == agent.name)
    last = (await connection.execute(select(func.max(agents.c.number)).where(same))).scalar()
    await connection.execute(insert(agents).values(agent_values(agent, (last or 0) + 1)))


async def get(connection: AsyncConnection, tenant_id: str, name_or_id: str) -> Agent:
    rows = await connection.execute(
        select(agents)
        .where(agents.c.tenant_id == tenant_id, or_(agents.c.name == name_or_id, agents.c.id == name_or_id))
        .order_by(agents.c.number.desc())
        .limit(1)
    )
    row = rows.first()
    if row is None:
        raise NotFound(f"There is no agent {name_or_id}", next_step="`aegis agent list` shows the deployed ones")
    return agent_of(row)


async def latest(connection: AsyncConnection, tenant_id: str, limit: int) -> list[Agent]:
    other = agents.alias()
    newest = (
        select(func.max(other.c.number))
        .where(other.c.tenant_id == agents.c.tenant_id, other.c.name == agents.c.name)
        .scalar_subquery()
    )
    rows = await connection.execute(
        select(agents)
        .where(agents.c.tenant_id == tenant_id, agents.c.number == newest)
        .order_by(agents.c.created_at.desc(), agents.c.id)
        .limit(limit)
    )
    return [agent_of(row) for row in rows]


async def remove(connection: AsyncConnection, tenant_id: str, name: str) -> None:
    gone = await connection.execute(delete(agents).where(agents.c.tenant_id == tenant_id, agents.c.name == name))
    if gone.rowcount == 0:
        raise NotFound(f"There is no agent {name}", next_step="`aegis agent list` shows the deployed ones")
