"""Prepaid credit: grants and their movements, which are only added.

Locks: none on existing tables; only new ones.
"""

import sqlalchemy as sa
from alembic import op

from ledger.types import ExactDecimal, ExactJson, UtcDateTime

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | None = None
depends_on: str | None = None

SCOPE = ["tenant_id", "environment_id"]
SOURCES = "source IN ('purchased', 'promotional', 'overpayment', 'credit_note', 'negative_invoice')"
KINDS = "kind IN ('granted', 'applied', 'returned', 'expired', 'voided')"
REFUSAL = "movements of credit are only added"


def upgrade() -> None:
    op.create_table(
        "credit_grants",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", ExactDecimal(), nullable=False),
        sa.Column("remaining", ExactDecimal(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("effective_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("voided_at", UtcDateTime(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("meta", ExactJson(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(SOURCES, name=op.f("ck_credit_grants_source")),
        sa.ForeignKeyConstraint(
            SCOPE, ["environments.tenant_id", "environments.id"], name=op.f("fk_credit_grants_environment_id")
        ),
        _key("credit_grants", "customer_id", "customers"),
        sa.PrimaryKeyConstraint(*SCOPE, "id", name=op.f("pk_credit_grants")),
        sa.UniqueConstraint(*SCOPE, "source", "source_id", name="uq_credit_grants_source"),
    )
    op.create_index("ix_credit_grants_newest", "credit_grants", [*SCOPE, "customer_id", "created_at", "id"])
    op.create_index("ix_credit_grants_expires_at", "credit_grants", ["expires_at"])
    op.create_table(
        "credit_movements",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("grant_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", ExactDecimal(), nullable=False),
        sa.Column("balance_after", ExactDecimal(), nullable=False),
        sa.Column("invoice_id", sa.Text(), nullable=True),
        sa.Column("credit_note_id", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(KINDS, name=op.f("ck_credit_movements_kind")),
        _key("credit_movements", "customer_id", "customers"),
        _key("credit_movements", "grant_id", "credit_grants"),
        _key("credit_movements", "invoice_id", "invoices"),
        sa.PrimaryKeyConstraint(*SCOPE, "id", name=op.f("pk_credit_movements")),
        sa.UniqueConstraint(*SCOPE, "customer_id", "sequence", name="uq_credit_movements_sequence"),
    )
    op.create_index("ix_credit_movements_invoice", "credit_movements", [*SCOPE, "invoice_id"])
    for event in ("UPDATE", "DELETE"):
        _refuse(event)


def downgrade() -> None:
    op.drop_table("credit_movements")
    op.drop_table("credit_grants")


def _key(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    names = [f"{to}.{name}" for name in (*SCOPE, "id")]
    return sa.ForeignKeyConstraint([*SCOPE, column], names, name=op.f(f"fk_{table}_{column}"))


def _refuse(event: str) -> None:
    refusal = f"FOR EACH ROW EXECUTE FUNCTION tallyhouse_refuse('{REFUSAL}')"
    if op.get_bind().dialect.name != "postgresql":
        refusal = "BEGIN SELECT RAISE(ABORT, '" + REFUSAL + "'); END"
    name = f"credit_movements_no_{event.lower()}"
    op.get_bind().exec_driver_sql(f"CREATE TRIGGER {name} BEFORE {event} ON credit_movements {refusal}")
