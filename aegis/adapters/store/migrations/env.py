"""Alembic's entry (`alembic upgrade|revision`), run by `aegis.adapters.store.migrate` on its own connection.

To write a revision: `alembic_config(connection)` and `alembic.command.revision(config, autogenerate=True)`.
"""

from __future__ import annotations

from alembic import context

from aegis.adapters.store.tables import metadata

connection = context.config.attributes["connection"]
# SQLite's DDL is transactional when the driver does not interfere, and ours does not (`database.py`).
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
