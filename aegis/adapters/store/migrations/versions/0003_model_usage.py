"""What models were used for, and what it cost: a row for each iteration and alias."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model_usage",
        sa.Column("execution_id", sa.String(64), nullable=False),
        sa.Column("iteration", sa.Integer, nullable=False),
        sa.Column("alias", sa.String(64), nullable=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("cost", sa.Float),
        sa.PrimaryKeyConstraint("execution_id", "iteration", "alias", name="pk_model_usage"),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["executions.id"], name="fk_model_usage_execution_id", ondelete="CASCADE"
        ),
    )
