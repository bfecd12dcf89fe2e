"""Each delivery of a webhook, each try, refund and dispute of a payment, and how far the provider's events were read.

Locks: ACCESS EXCLUSIVE on `connections` for the change of the catalogue only; otherwise new tables.
"""

import sqlalchemy as sa
from alembic import op

from ledger.types import ExactDecimal, ExactJson, UtcDateTime

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | None = None
depends_on: str | None = None

SCOPE = ["tenant_id", "environment_id"]


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("connections", sa.Column("events_read_until", UtcDateTime(), nullable=True))
    op.create_table(
        "webhook_deliveries",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("inbox_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("fresh", sa.Boolean(), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            [*SCOPE, "inbox_id"],
            ["inbox.tenant_id", "inbox.environment_id", "inbox.id"],
            name=op.f("fk_webhook_deliveries_inbox_id"),
        ),
        sa.PrimaryKeyConstraint(*SCOPE, "id", name=op.f("pk_webhook_deliveries")),
    )
    op.create_index("ix_webhook_deliveries_inbox", "webhook_deliveries", [*SCOPE, "inbox_id"])
    op.create_table(
        "payment_history",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("gateway_id", sa.Text(), nullable=False),
        sa.Column("amount", ExactDecimal(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", ExactJson(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("kind IN ('attempt', 'refund', 'dispute')", name=op.f("ck_payment_history_kind")),
        sa.ForeignKeyConstraint(
            [*SCOPE, "payment_id"],
            ["payments.tenant_id", "payments.environment_id", "payments.id"],
            name=op.f("fk_payment_history_payment_id"),
        ),
        sa.PrimaryKeyConstraint(*SCOPE, "id", name=op.f("pk_payment_history")),
        sa.UniqueConstraint(*SCOPE, "payment_id", "kind", "gateway_id", name="uq_payment_history_gateway_id"),
    )
    op.create_index("ix_payment_history_payment", "payment_history", [*SCOPE, "payment_id", "kind", "number"])


def downgrade() -> None:
    op.drop_table("payment_history")
    op.drop_table("webhook_deliveries")
    op.drop_column("connections", "events_read_until")
