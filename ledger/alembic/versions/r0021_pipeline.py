"""Finished runs, the newest figures and alerts of the pipeline; when an environment's usage is late.

Locks: ACCESS EXCLUSIVE on `environments` for the change of the catalogue only. `inbox` and `outbox` take no writes
while their new indexes are built; these hold failed work alone, but building them reads the whole table.
"""

import sqlalchemy as sa
from alembic import op

from ledger.types import ExactJson, UtcDateTime

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels: str | None = None
depends_on: str | None = None

ENDS = "status IN ('succeeded', 'failed', 'canceled')"
IS_FAILED = sa.text("state = 'failed'")
IS_OPEN = sa.text("state = 'open'")
IS_STANDING = sa.text("resolved_at IS NULL")


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "environments",
        sa.Column("usage_freshness_seconds", sa.Integer(), nullable=False, server_default=sa.text("3600")),
    )
    for table in ("inbox", "outbox"):
        op.create_index(f"ix_{table}_failed", table, ["closed_at"], sqlite_where=IS_FAILED, postgresql_where=IS_FAILED)
    _create_runs()
    _create_alerts()


def downgrade() -> None:
    for table in ("alert_messages", "alerts", "pipeline_figures", "pipeline_run_totals", "pipeline_runs"):
        op.drop_table(table)
    for table in ("outbox", "inbox"):
        op.drop_index(f"ix_{table}_failed", table)
    op.drop_column("environments", "usage_freshness_seconds")


def _create_runs() -> None:
    op.create_table(
        "pipeline_runs",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("id", "job", "days", "status")),
        sa.Column("ended_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(ENDS, name=op.f("ck_pipeline_runs_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pipeline_runs")),
    )
    op.create_index("ix_pipeline_runs_newest", "pipeline_runs", ["job", "days", "ended_at"])
    op.create_table(
        "pipeline_run_totals",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("job", "status")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("runs", "milliseconds")),
        sa.CheckConstraint(ENDS, name=op.f("ck_pipeline_run_totals_status")),
        sa.PrimaryKeyConstraint("job", "status", name=op.f("pk_pipeline_run_totals")),
    )
    op.create_table(
        "pipeline_figures",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("measured_at", UtcDateTime(), nullable=False),
        sa.Column("figures", ExactJson(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_pipeline_figures")),
    )


def _create_alerts() -> None:
    op.create_table(
        "alerts",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("id", "kind", "subject", "summary")),
        sa.Column("detail", ExactJson(), nullable=False),
        sa.Column("opened_at", UtcDateTime(), nullable=False),
        sa.Column("resolved_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    op.create_index(
        "uq_alerts_standing",
        "alerts",
        ["kind", "subject"],
        unique=True,
        sqlite_where=IS_STANDING,
        postgresql_where=IS_STANDING,
    )
    op.create_index("ix_alerts_newest", "alerts", ["opened_at", "id"])
    op.create_table(
        "alert_messages",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("id", "alert_id", "event", "body", "state")),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("closed_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("event IN ('opened', 'resolved')", name=op.f("ck_alert_messages_event")),
        sa.CheckConstraint("state IN ('open', 'sent', 'logged', 'failed')", name=op.f("ck_alert_messages_state")),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.id"], name=op.f("fk_alert_messages_alert_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_messages")),
    )
    op.create_index(
        "ix_alert_messages_due", "alert_messages", ["due_at"], sqlite_where=IS_OPEN, postgresql_where=IS_OPEN
    )
