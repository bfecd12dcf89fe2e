"""Runs of the pipeline that environments ask for.

Locks: none on existing tables; only a new one.
"""

import sqlalchemy as sa
from alembic import op

from ledger.types import ExactJson, UtcDateTime

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | None = None
depends_on: str | None = None

STATUSES = "status IN ('requested', 'queued', 'running', 'succeeded', 'failed', 'canceled')"
IS_UNFINISHED = sa.text("status IN ('requested', 'queued', 'running')")


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("first_day", sa.Text(), nullable=False),
        sa.Column("last_day", sa.Text(), nullable=False),
        sa.Column("subscription_id", sa.Text(), nullable=True),
        sa.Column("meter_id", sa.Text(), nullable=True),
        sa.Column("force", sa.Boolean(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("log", ExactJson(), nullable=False),
        sa.Column("requested_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("kind IN ('usage', 'billing')", name=op.f("ck_runs_kind")),
        sa.CheckConstraint(STATUSES, name=op.f("ck_runs_status")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_runs_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "id", name=op.f("pk_runs")),
    )
    op.create_index("ix_runs_newest", "runs", ["tenant_id", "environment_id", "requested_at", "id"])
    op.create_index(
        "ix_runs_unfinished", "runs", ["requested_at"], sqlite_where=IS_UNFINISHED, postgresql_where=IS_UNFINISHED
    )


def downgrade() -> None:
    op.drop_table("runs")
