"""What models were used for: sums, a row for each execution, iteration and alias."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from aegis.adapters.store.tables import model_usage
from aegis.ports import ModelUsage

KEY = ("execution_id", "iteration", "alias")
COUNTS = ("calls", "input_tokens", "output_tokens")


async def add(connection: AsyncConnection, execution_id: str, usage: ModelUsage) -> None:
    """One statement: judges of one iteration answer at once, and of two first ones neither may fail."""
    table = model_usage
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    values = {name: getattr(usage, name) for name in ModelUsage.__slots__}
    statement = insert(table).values(execution_id=execution_id, **values)
    sums = {name: table.c[name] + statement.excluded[name] for name in COUNTS}
    if usage.cost is not None:
        sums["cost"] = func.coalesce(table.c.cost, 0.0) + statement.excluded.cost
    await connection.execute(statement.on_conflict_do_update(index_elements=KEY, set_=sums))


async def of(connection: AsyncConnection, execution_id: str) -> list[ModelUsage]:
    query = select(model_usage).where(model_usage.c.execution_id == execution_id)
    rows = await connection.execute(query.order_by(model_usage.c.iteration, model_usage.c.alias))
    return [ModelUsage(**{name: row._mapping[name] for name in ModelUsage.__slots__}) for row in rows]
