"""The tables, and the three column types that make both engines behave the same.

The rules to know: `uq_attachments_writer` is what decides that a volume has one read-write attachment at a time; the
check in `volumes.py` only words the refusal. A change here needs a revision in `migrations/versions` (a test compares
the two).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in and out, to the microsecond; SQLite has no time zones and gets naive UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class AnyText(TypeDecorator[str]):
    """Text from models, containers and file names: PostgreSQL refuses NUL and neither engine takes lone surrogates, so
    both become U+FFFD on the way in. Nothing is refused because of a byte in somebody's output."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        value = value.replace("\0", "\ufffd")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            value = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return value


class AnyJson(TypeDecorator[Any]):
    """JSON as text in ASCII (`json`, not `jsonb`, on PostgreSQL: it keeps `\\u0000` and the order of keys)."""

    impl = JSON(none_as_null=True)
    cache_ok = True


agents = Table(
    "agents",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant_id", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    Column("manifest", AnyJson, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column(
        "number", BigInteger, nullable=False
    ),  # of the deployment of this name: two in one microsecond have an order
    Index(None, "tenant_id", "name", "number", unique=True),
)

executions = Table(
    "executions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant_id", String(64), nullable=False),
    Column("agent_id", String(64), nullable=False),  # no foreign key: an agent may be removed, its executions stay
    Column("agent_name", String(64), nullable=False),
    Column("manifest", AnyJson, nullable=False),
    Column("input", AnyText, nullable=False),
    Column("container_uid", BigInteger, nullable=False),
    Column("container_gid", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("token_hash", String(64), nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("error_code", String(64)),
    Column("error", AnyText),
    Column("output", AnyText),
    Column("labels", AnyJson, nullable=False),
    Column("parent_id", String(64)),
    Column("node_id", String(64)),
    Index(None, "tenant_id", "created_at"),
    Index(None, "state"),
)

iterations = Table(
    "iterations",
    metadata,
    Column("execution_id", String(64), ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("container_id", String(128)),
    Column("exit_code", BigInteger),
    Column("final", AnyText),
    Column("tool_calls", Integer, nullable=False),
    Column("verdict", AnyJson),
    Column("error", AnyText),
    Column("error_code", String(64)),
    Column("feedback", AnyText),
)

inner_loops = Table(
    "inner_loops",
    metadata,
    Column("execution_id", String(64), ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
    Column("iteration", Integer, primary_key=True),
    Column("state", AnyJson, nullable=False),
)

model_usage = Table(
    "model_usage",
    metadata,
    Column("execution_id", String(64), ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
    Column("iteration", Integer, primary_key=True),
    Column("alias", String(64), primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cost", Float),  # NULL: none of them had a price
)

volumes = Table(
    "volumes",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant_id", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    Column("storage_class", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("size_limit_bytes", BigInteger),
    Column("expires_at", UtcDateTime),
    Column("owner_execution_id", String(64)),
    Column("fsid", String(16), nullable=False),  # 16 hex digits: 64 bits do not fit a signed BIGINT
    Column("error", AnyText),
    Index(None, "tenant_id", "created_at"),
    Index(None, "state"),
)

IS_WRITER = text("access_mode = 'read-write' AND detached_at IS NULL")

attachments = Table(
    "attachments",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("volume_id", String(64), ForeignKey("volumes.id"), nullable=False),
    Column("execution_id", String(64), nullable=False),
    Column("access_mode", String(16), nullable=False),
    Column("mount_path", AnyText, nullable=False),
    Column("uid", BigInteger, nullable=False),
    Column("gid", BigInteger, nullable=False),
    Column("export_key", String(16), nullable=False),
    Column("docker_volume_name", String(128), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("detached_at", UtcDateTime),
    Index("uq_attachments_writer", "volume_id", unique=True, sqlite_where=IS_WRITER, postgresql_where=IS_WRITER),
    Index(None, "execution_id"),
    Index(None, "volume_id", "detached_at"),
)

event_streams = Table(
    "event_streams",
    metadata,
    Column("execution_id", String(64), primary_key=True),  # "": what belongs to no execution
    Column("last_sequence", BigInteger, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("execution_id", String(64), ForeignKey("event_streams.execution_id"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("iteration", Integer),
    Column("data", AnyJson, nullable=False),
)
