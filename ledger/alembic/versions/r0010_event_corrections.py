"""Corrections of events: what was voided or amended, by whom and why.

Locks: none on existing tables; only a new one.
"""

import sqlalchemy as sa
from alembic import op

from ledger.types import UtcDateTime

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "event_corrections",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("event_key", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("timestamp", UtcDateTime(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("corrected_customer_id", sa.Text(), nullable=True),
        sa.Column("corrected_timestamp", UtcDateTime(), nullable=True),
        sa.Column("corrected", sa.Text(), nullable=True),
        sa.Column("requested_at", UtcDateTime(), nullable=False),
        sa.Column("applied_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("action IN ('void', 'amend')", name=op.f("ck_event_corrections_action")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_event_corrections_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "id", name=op.f("pk_event_corrections")),
        sa.UniqueConstraint("tenant_id", "environment_id", "event_key", name="uq_event_corrections_event_key"),
    )
    scope = ["tenant_id", "environment_id"]
    op.create_index("ix_event_corrections_customer", "event_corrections", [*scope, "customer_id"])
    op.create_index("ix_event_corrections_corrected_customer", "event_corrections", [*scope, "corrected_customer_id"])
    op.create_index("ix_event_corrections_applied_at", "event_corrections", ["applied_at"])


def downgrade() -> None:
    op.drop_table("event_corrections")
