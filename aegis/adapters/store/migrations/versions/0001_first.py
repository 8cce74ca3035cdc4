"""The first schema: agents, executions, iterations, inner loops, volumes, attachments, events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Time = sa.DateTime(timezone=True)
IS_WRITER = sa.text("access_mode = 'read-write' AND detached_at IS NULL")


def upgrade() -> None:
    _agents()
    _executions()
    _volumes()
    _events()


def _agents() -> None:
    op.create_table(
        "agents",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("manifest", sa.JSON, nullable=False),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_agents"),
    )
    op.create_index("ix_agents_tenant_id_name_number", "agents", ["tenant_id", "name", "number"], unique=True)


def _executions() -> None:
    op.create_table(
        "executions",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("agent_id", sa.String(64), nullable=False),
        sa.Column("agent_name", sa.String(64), nullable=False),
        sa.Column("manifest", sa.JSON, nullable=False),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("container_uid", sa.BigInteger, nullable=False),
        sa.Column("container_gid", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("started_at", Time),
        sa.Column("ended_at", Time),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error", sa.Text),
        sa.Column("output", sa.Text),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_executions"),
    )
    op.create_index("ix_executions_tenant_id_created_at", "executions", ["tenant_id", "created_at"])
    op.create_index("ix_executions_state", "executions", ["state"])
    op.create_table(
        "iterations",
        sa.Column("execution_id", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("started_at", Time, nullable=False),
        sa.Column("ended_at", Time),
        sa.Column("container_id", sa.String(128)),
        sa.Column("exit_code", sa.BigInteger),
        sa.Column("final", sa.Text),
        sa.Column("tool_calls", sa.Integer, nullable=False),
        sa.Column("verdict", sa.JSON),
        sa.Column("error", sa.Text),
        sa.Column("error_code", sa.String(64)),
        sa.Column("feedback", sa.Text),
        sa.PrimaryKeyConstraint("execution_id", "number", name="pk_iterations"),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["executions.id"], name="fk_iterations_execution_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "inner_loops",
        sa.Column("execution_id", sa.String(64), nullable=False),
        sa.Column("iteration", sa.Integer, nullable=False),
        sa.Column("state", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("execution_id", "iteration", name="pk_inner_loops"),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["executions.id"], name="fk_inner_loops_execution_id", ondelete="CASCADE"
        ),
    )


def _volumes() -> None:
    op.create_table(
        "volumes",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("storage_class", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("size_limit_bytes", sa.BigInteger),
        sa.Column("expires_at", Time),
        sa.Column("owner_execution_id", sa.String(64)),
        sa.Column("fsid", sa.String(16), nullable=False),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_volumes"),
    )
    op.create_index("ix_volumes_tenant_id_created_at", "volumes", ["tenant_id", "created_at"])
    op.create_index("ix_volumes_state", "volumes", ["state"])
    op.create_table(
        "attachments",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("volume_id", sa.String(64), nullable=False),
        sa.Column("execution_id", sa.String(64), nullable=False),
        sa.Column("access_mode", sa.String(16), nullable=False),
        sa.Column("mount_path", sa.Text, nullable=False),
        sa.Column("uid", sa.BigInteger, nullable=False),
        sa.Column("gid", sa.BigInteger, nullable=False),
        sa.Column("export_key", sa.String(16), nullable=False),
        sa.Column("docker_volume_name", sa.String(128), nullable=False),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("detached_at", Time),
        sa.PrimaryKeyConstraint("id", name="pk_attachments"),
        sa.ForeignKeyConstraint(["volume_id"], ["volumes.id"], name="fk_attachments_volume_id"),
    )
    op.create_index(
        "uq_attachments_writer",
        "attachments",
        ["volume_id"],
        unique=True,
        sqlite_where=IS_WRITER,
        postgresql_where=IS_WRITER,
    )
    op.create_index("ix_attachments_execution_id", "attachments", ["execution_id"])
    op.create_index("ix_attachments_volume_id_detached_at", "attachments", ["volume_id", "detached_at"])


def _events() -> None:
    streams = op.create_table(
        "event_streams",
        sa.Column("execution_id", sa.String(64), nullable=False),
        sa.Column("last_sequence", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("execution_id", name="pk_event_streams"),
    )
    op.bulk_insert(streams, [{"execution_id": "", "last_sequence": 0}])
    op.create_table(
        "events",
        sa.Column("execution_id", sa.String(64), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("at", Time, nullable=False),
        sa.Column("iteration", sa.Integer),
        sa.Column("data", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("execution_id", "sequence", name="pk_events"),
        sa.ForeignKeyConstraint(["execution_id"], ["event_streams.execution_id"], name="fk_events_execution_id"),
    )


def downgrade() -> None:
    raise NotImplementedError("the first schema has nothing before it")
