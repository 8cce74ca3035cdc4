"""The `Store` port on SQLAlchemy Core: SQLite (the default) and PostgreSQL, one code path for both."""

from __future__ import annotations

from aegis.adapters.store.repository import SqlStore, open_store

__all__ = ["SqlStore", "open_store"]
