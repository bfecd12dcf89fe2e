"""Discounts, taxes and credits of an invoice and its lines, tax rates, and who pays which.

An invoice that is there has none of them. What was credited after it was final may move, as what was paid does.

Locks: ACCESS EXCLUSIVE on `invoices`, `invoice_lines` and `customers` for the change of the catalogue only: a constant
default is no rewrite.
"""

import sqlalchemy as sa
from alembic import op

from ledger.types import ExactDecimal, ExactJson, UtcDateTime

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | None = None
depends_on: str | None = None

AMOUNTS = ("discount_total", "tax_total", "credits_applied", "amount_credited", "pre_payment_credited")
RECORDS = ("discounts", "taxes", "credits")
FROZEN = (
    "tenant_id",
    "environment_id",
    "id",
    "customer_id",
    "subscription_id",
    "number",
    "currency",
    "subtotal",
    "total",
    "amount_due",
    "period_start",
    "period_end",
    "watermark",
    "inputs_hash",
    "code_version",
    "priced_at",
    "finalized_at",
)
FROZEN_SINCE = ("discount_total", "tax_total", "credits_applied", "tax_rate_ids", "discounts", "taxes", "credits")


def upgrade() -> None:
    if _postgresql():
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "tax_rates",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("percentage", ExactDecimal(), nullable=False),
        sa.Column("inclusive", sa.Boolean(), nullable=False),
        sa.Column("jurisdiction", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("status IN ('active', 'archived')", name=op.f("ck_tax_rates_status")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_tax_rates_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "id", name=op.f("pk_tax_rates")),
    )
    op.create_index("ix_tax_rates_newest", "tax_rates", ["tenant_id", "environment_id", "created_at", "id"])
    _add("customers", sa.Column("tax_exempt", sa.Boolean(), server_default=sa.false(), nullable=False))
    _add("customers", _list("tax_rate_ids"))
    for name in AMOUNTS:
        _add("invoices", _amount(name))
    for name in RECORDS:
        _add("invoices", _list(name))
    _add("invoices", sa.Column("tax_rate_ids", ExactJson(), nullable=True))
    for name in ("discount", "tax"):
        _add("invoice_lines", _amount(name))
    for name in ("discounts", "taxes"):
        _add("invoice_lines", _list(name))
    _freeze(FROZEN + FROZEN_SINCE)


def downgrade() -> None:
    _freeze(FROZEN)
    for name in ("discounts", "taxes", "discount", "tax"):
        op.drop_column("invoice_lines", name)
    for name in ("tax_rate_ids", *RECORDS, *AMOUNTS):
        op.drop_column("invoices", name)
    for name in ("tax_rate_ids", "tax_exempt"):
        op.drop_column("customers", name)
    op.drop_table("tax_rates")


def _postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _add(table: str, column: "sa.Column[object]") -> None:
    op.add_column(table, column)


def _amount(name: str) -> "sa.Column[object]":
    return sa.Column(name, ExactDecimal(), server_default="0", nullable=False)


def _list(name: str) -> "sa.Column[object]":
    return sa.Column(name, ExactJson(), server_default="[]", nullable=False)


def _freeze(columns: tuple[str, ...]) -> None:
    """The guard of r0007, over these columns."""
    back = "NEW.status = 'draft' OR (OLD.status = 'void' AND NEW.status <> 'void')"
    if _postgresql():
        new, old = (", ".join(f"{row}.{name}" for name in columns) for row in ("NEW", "OLD"))
        statements = [
            "DROP TRIGGER invoices_frozen ON invoices",
            f"""
            CREATE TRIGGER invoices_frozen BEFORE UPDATE ON invoices FOR EACH ROW
            WHEN (OLD.status <> 'draft' AND ({back} OR ({new}) IS DISTINCT FROM ({old})))
            EXECUTE FUNCTION tallyhouse_refuse('a finalized invoice never changes')""",
        ]
    else:
        changed = " OR ".join(f"NEW.{name} IS NOT OLD.{name}" for name in columns)
        statements = [
            "DROP TRIGGER invoices_frozen",
            f"""
            CREATE TRIGGER invoices_frozen BEFORE UPDATE ON invoices
            WHEN OLD.status <> 'draft' AND ({back} OR {changed})
            BEGIN SELECT RAISE(ABORT, 'a finalized invoice never changes'); END""",
        ]
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)
