"""Credit notes on finalized invoices. An issued one keeps what it says; it may be voided.

Locks: none on existing tables; only new ones.
"""

import sqlalchemy as sa
from alembic import op

from ledger.types import ExactDecimal, ExactJson, UtcDateTime

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: str | None = None
depends_on: str | None = None

SCOPE = ["tenant_id", "environment_id"]
FROZEN = (
    "id",
    "invoice_id",
    "customer_id",
    "number",
    "reason",
    "currency",
    "total",
    "tax_total",
    "pre_payment",
    "credit_returned",
    "paid_back",
    "settle_as",
    "lines",
    "created_at",
)
REFUSAL = "an issued credit note never changes"


def upgrade() -> None:
    amounts = ("total", "tax_total", "pre_payment", "credit_returned", "paid_back")
    op.create_table(
        "credit_notes",
        *(sa.Column(name, sa.Text(), nullable=False) for name in (*SCOPE, "id", "invoice_id", "customer_id")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("number", "status", "reason", "currency")),
        *(sa.Column(name, ExactDecimal(), nullable=False) for name in amounts),
        sa.Column("settle_as", sa.Text(), nullable=False),
        sa.Column("lines", ExactJson(), nullable=False),
        sa.Column("voided_at", UtcDateTime(), nullable=True),
        sa.Column("void_reason", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("status IN ('issued', 'void')", name=op.f("ck_credit_notes_status")),
        sa.CheckConstraint("settle_as IN ('credit', 'refund')", name=op.f("ck_credit_notes_settle_as")),
        _in_environment("credit_notes"),
        _key("invoice_id", "invoices"),
        _key("customer_id", "customers"),
        sa.PrimaryKeyConstraint(*SCOPE, "id", name=op.f("pk_credit_notes")),
        sa.UniqueConstraint(*SCOPE, "number", name="uq_credit_notes_number"),
    )
    op.create_index("ix_credit_notes_newest", "credit_notes", [*SCOPE, "created_at", "id"])
    op.create_index("ix_credit_notes_invoice", "credit_notes", [*SCOPE, "invoice_id"])
    op.create_table(
        "credit_note_counters",
        *(sa.Column(name, sa.Text(), nullable=False) for name in (*SCOPE, "month")),
        sa.Column("last_number", sa.Integer(), nullable=False),
        _in_environment("credit_note_counters"),
        sa.PrimaryKeyConstraint(*SCOPE, "month", name=op.f("pk_credit_note_counters")),
    )
    for event, changed in (("UPDATE", _changed()), ("DELETE", "1 = 1")):
        refusal = "BEGIN SELECT RAISE(ABORT, '" + REFUSAL + "'); END"
        if _postgresql():
            refusal = f"EXECUTE FUNCTION tallyhouse_refuse('{REFUSAL}')"
        op.get_bind().exec_driver_sql(
            f"CREATE TRIGGER credit_notes_no_{event.lower()} BEFORE {event} ON credit_notes FOR EACH ROW"
            f" WHEN ({changed}) {refusal}"
        )


def downgrade() -> None:
    op.drop_table("credit_note_counters")
    op.drop_table("credit_notes")


def _postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _changed() -> str:
    differs = "IS DISTINCT FROM" if _postgresql() else "IS NOT"
    changes = [f"NEW.{name} {differs} OLD.{name}" for name in FROZEN]
    return " OR ".join([*changes, "(OLD.status = 'void' AND NEW.status <> 'void')"])


def _in_environment(table: str) -> sa.ForeignKeyConstraint:
    names = ["environments.tenant_id", "environments.id"]
    return sa.ForeignKeyConstraint(SCOPE, names, name=op.f(f"fk_{table}_environment_id"))


def _key(column: str, to: str) -> sa.ForeignKeyConstraint:
    names = [f"{to}.{name}" for name in (*SCOPE, "id")]
    return sa.ForeignKeyConstraint([*SCOPE, column], names, name=op.f(f"fk_credit_notes_{column}"))
