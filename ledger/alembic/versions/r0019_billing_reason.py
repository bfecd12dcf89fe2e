"""Why there is an invoice: a subscription began, a period ended, or somebody made it by hand.

The invoice of a subscription's start bills its first period in advance, so a period may have two invoices: the reason
becomes a part of what is unique.
Locks: ACCESS EXCLUSIVE on `invoices` while its unique constraint is built anew and its check reads every row, about a
second for a million. SQLite copies the invoices.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | None = None
depends_on: str | None = None

REASONS = "billing_reason IN ('subscription_start', 'subscription_cycle', 'manual')"
UNIQUE = "uq_invoices_subscription_period"
KEY = ["tenant_id", "environment_id", "subscription_id", "period_start"]


def upgrade() -> None:
    if _postgresql():
        op.execute("SET LOCAL lock_timeout = '5s'")
        op.add_column("invoices", _reason())
        op.execute("ALTER TABLE invoices DISABLE TRIGGER invoices_frozen")
        _set_reasons()
        op.execute("ALTER TABLE invoices ENABLE TRIGGER invoices_frozen")
        op.drop_constraint(UNIQUE, "invoices")
        op.create_unique_constraint(UNIQUE, "invoices", [*KEY, "billing_reason"])
        op.create_check_constraint(op.f("ck_invoices_billing_reason"), "invoices", REASONS)
        op.alter_column("invoices", "billing_reason", server_default=None)
    else:
        triggers = _without_triggers()
        with op.batch_alter_table("invoices", recreate="always") as batch:
            batch.add_column(_reason())
            batch.drop_constraint(UNIQUE, type_="unique")
            batch.create_unique_constraint(UNIQUE, [*KEY, "billing_reason"])
            batch.create_check_constraint(op.f("ck_invoices_billing_reason"), REASONS)
        _set_reasons()
        with op.batch_alter_table("invoices", recreate="always") as batch:
            batch.alter_column("billing_reason", existing_type=sa.Text(), server_default=None)
        _with_triggers(triggers)
    op.create_index("ix_invoices_starts", "invoices", ["billing_reason", "period_start"])


def downgrade() -> None:
    op.drop_index("ix_invoices_starts", "invoices")
    if _postgresql():
        op.drop_constraint(op.f("ck_invoices_billing_reason"), "invoices")
        op.drop_constraint(UNIQUE, "invoices")
        op.create_unique_constraint(UNIQUE, "invoices", KEY)
        op.drop_column("invoices", "billing_reason")
        return
    triggers = _without_triggers()
    with op.batch_alter_table("invoices", recreate="always") as batch:
        batch.drop_constraint(op.f("ck_invoices_billing_reason"), type_="check")
        batch.drop_constraint(UNIQUE, type_="unique")
        batch.create_unique_constraint(UNIQUE, KEY)
        batch.drop_column("billing_reason")
    _with_triggers(triggers)


def _postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _reason() -> "sa.Column[str]":
    return sa.Column("billing_reason", sa.Text(), server_default="subscription_cycle", nullable=False)


def _set_reasons() -> None:
    op.execute("UPDATE invoices SET billing_reason = 'manual' WHERE subscription_id IS NULL")


def _without_triggers() -> list[str]:
    """Takes away what looks at invoices: a table is not copied under it. The statements that make it again."""
    rows = op.get_bind().exec_driver_sql(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ('invoices', 'invoice_lines')"
    )
    found = [(str(row[0]), str(row[1])) for row in rows]
    for name, _ in found:
        op.get_bind().exec_driver_sql("DROP TRIGGER " + name)
    return [statement for _, statement in found]


def _with_triggers(statements: list[str]) -> None:
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)
