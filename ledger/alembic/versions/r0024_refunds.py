"""Refunds that were asked for here; credit notes and refunds have mappings to the provider's objects.

Locks: ACCESS EXCLUSIVE on `mappings` while its check reads every row, under a second for a million. SQLite copies them.
"""

import sqlalchemy as sa
from alembic import op

from ledger.types import ExactDecimal, UtcDateTime

revision: str = "0024"
down_revision: str | None = "0023"
branch_labels: str | None = None
depends_on: str | None = None

SCOPE = ["tenant_id", "environment_id"]
CHECK = "ck_mappings_entity"
BEFORE = ("customer", "invoice", "payment", "plan", "price", "subscription")
AFTER = ("credit_note", "customer", "invoice", "payment", "plan", "price", "refund", "subscription")


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    _allow(AFTER)
    texts = ("id", "payment_id")
    may_be_missing = ("credit_note_id", "reason", "gateway", "gateway_refund_id", "failure_reason")
    op.create_table(
        "refunds",
        *(sa.Column(name, sa.Text(), nullable=False) for name in (*SCOPE, *texts, "currency", "status")),
        *(sa.Column(name, sa.Text(), nullable=True) for name in may_be_missing),
        sa.Column("amount", ExactDecimal(), nullable=False),
        sa.Column("settled_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("status IN ('pending', 'succeeded', 'failed', 'canceled')", name=op.f("ck_refunds_status")),
        sa.ForeignKeyConstraint(
            SCOPE, ["environments.tenant_id", "environments.id"], name=op.f("fk_refunds_environment_id")
        ),
        _key("payment_id", "payments"),
        _key("credit_note_id", "credit_notes"),
        sa.PrimaryKeyConstraint(*SCOPE, "id", name=op.f("pk_refunds")),
        sa.UniqueConstraint(*SCOPE, "gateway", "gateway_refund_id", name="uq_refunds_gateway_refund_id"),
    )
    op.create_index("ix_refunds_payment", "refunds", [*SCOPE, "payment_id", "id"])
    op.create_index("ix_refunds_credit_note", "refunds", [*SCOPE, "credit_note_id"])


def downgrade() -> None:
    op.drop_table("refunds")
    op.execute("DELETE FROM mappings WHERE entity IN ('credit_note', 'refund')")
    _allow(BEFORE)


def _allow(entities: tuple[str, ...]) -> None:
    listed = ", ".join(f"'{entity}'" for entity in entities)
    with op.batch_alter_table("mappings") as batch:
        batch.drop_constraint(op.f(CHECK), type_="check")
        batch.create_check_constraint(op.f(CHECK), f"entity IN ({listed})")


def _key(column: str, to: str) -> sa.ForeignKeyConstraint:
    names = [f"{to}.{name}" for name in (*SCOPE, "id")]
    return sa.ForeignKeyConstraint([*SCOPE, column], names, name=op.f(f"fk_refunds_{column}"))
