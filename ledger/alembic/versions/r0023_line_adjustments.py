"""What finalized lines have come to since (late events, rating again), and how environments have it billed.

A line may adjust an earlier one, and an invoice may hold nothing else.
Locks: ACCESS EXCLUSIVE on `environments` for the change of the catalogue only, on `invoices` and `invoice_lines` while
a check reads every row once, about a second for a few million. SQLite copies both.
"""

import sqlalchemy as sa
from alembic import op

from ledger.types import ExactDecimal, UtcDateTime

revision: str = "0023"
down_revision: str | None = "0022"
branch_labels: str | None = None
depends_on: str | None = None

SCOPE = ["tenant_id", "environment_id"]
TABLE = "line_adjustments"
TREATMENTS = "('next_invoice', 'credit_note', 'separate_invoice')"
REASONS = "billing_reason IN ('subscription_start', 'subscription_cycle', 'manual'{})"
TYPES = "price_type IN ('fixed', 'usage', 'one_off'{})"


def upgrade() -> None:
    if _postgresql():
        op.execute("SET LOCAL lock_timeout = '5s'")
    # Column and check in one, in the words of both databases: alembic would add the check by a second statement, which
    # SQLite does not have.
    op.get_bind().exec_driver_sql(
        "ALTER TABLE environments ADD COLUMN late_events TEXT DEFAULT 'next_invoice' NOT NULL"
        " CONSTRAINT ck_environments_late_events CHECK (late_events IN " + TREATMENTS + ")"
    )
    _change_check("invoices", "billing_reason", REASONS.format(", 'adjustment'"))
    _change_check("invoice_lines", "price_type", TYPES.format(", 'adjustment'"))
    _create_adjustments()
    op.create_table(
        "late_looks",
        *(sa.Column(name, sa.Text(), nullable=False) for name in SCOPE),
        sa.Column("watermark", UtcDateTime(), nullable=False),
        sa.Column("looked_at", UtcDateTime(), nullable=False),
        _in_environment("late_looks"),
        sa.PrimaryKeyConstraint(*SCOPE, name=op.f("pk_late_looks")),
    )


def downgrade() -> None:
    op.drop_table("late_looks")
    op.drop_table(TABLE)
    _change_check("invoice_lines", "price_type", TYPES.format(""))
    _change_check("invoices", "billing_reason", REASONS.format(""))
    if _postgresql():
        op.drop_column("environments", "late_events")
        return
    with op.batch_alter_table("environments", recreate="always") as batch:
        batch.drop_constraint(op.f("ck_environments_late_events"), type_="check")
        batch.drop_column("late_events")


def _create_adjustments() -> None:
    texts = ("id", "customer_id", "subscription_id", "invoice_id", "line_id", "cause", "display_name", "price_id")
    maybe = ("meter_id", "quantity_hash", "treatment", "held_because", "person", "reason", "carried_by")
    op.create_table(
        TABLE,
        *(sa.Column(name, sa.Text(), nullable=False) for name in (*SCOPE, *texts)),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("sequence", "price_version", "events")),
        *(sa.Column(name, UtcDateTime(), nullable=False) for name in ("period_start", "period_end", "created_at")),
        *(sa.Column(name, ExactDecimal(), nullable=False) for name in ("quantity_before", "quantity", "billed", "due")),
        *(sa.Column(name, sa.Text(), nullable=True) for name in (*maybe, "credit_note_id")),
        *(sa.Column(name, UtcDateTime(), nullable=True) for name in ("seen_before", "watermark")),
        sa.Column("meter_version", sa.Integer(), nullable=True),
        sa.CheckConstraint("cause IN ('late_events', 'rerate')", name=op.f("ck_line_adjustments_cause")),
        sa.CheckConstraint(f"treatment IN {TREATMENTS}", name=op.f("ck_line_adjustments_treatment")),
        _in_environment(TABLE),
        _key("customers", "customer_id"),
        _key("subscriptions", "subscription_id"),
        _key("invoices", "invoice_id"),
        _key("invoice_lines", "line_id"),
        _key("invoices", "carried_by"),
        _key("credit_notes", "credit_note_id"),
        _key("price_versions", "price_id", "price_version", to=("price_id", "version")),
        _key("meter_versions", "meter_id", "meter_version", to=("meter_id", "version")),
        sa.PrimaryKeyConstraint(*SCOPE, "id", name=op.f("pk_line_adjustments")),
        sa.UniqueConstraint(*SCOPE, "line_id", "sequence", name="uq_line_adjustments_sequence"),
    )
    op.create_index("ix_line_adjustments_newest", TABLE, [*SCOPE, "created_at", "id"])
    op.create_index("ix_line_adjustments_subscription", TABLE, [*SCOPE, "subscription_id"])
    op.create_index("ix_line_adjustments_invoice", TABLE, [*SCOPE, "invoice_id"])
    op.create_index("ix_line_adjustments_carried_by", TABLE, [*SCOPE, "carried_by"])


def _change_check(table: str, name: str, rule: str) -> None:
    check = op.f(f"ck_{table}_{name}")
    if _postgresql():
        op.drop_constraint(check, table)
        op.create_check_constraint(check, table, rule)
        return
    triggers = _without_triggers()
    with op.batch_alter_table(table, recreate="always") as batch:
        batch.drop_constraint(check, type_="check")
        batch.create_check_constraint(check, rule)
    for statement in triggers:
        op.get_bind().exec_driver_sql(statement)


def _without_triggers() -> list[str]:
    """Takes away what looks at invoices: a table is not copied under it. The statements that make it again."""
    rows = op.get_bind().exec_driver_sql(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ('invoices', 'invoice_lines')"
    )
    found = [(str(row[0]), str(row[1])) for row in rows]
    for name, _ in found:
        op.get_bind().exec_driver_sql("DROP TRIGGER " + name)
    return [statement for _, statement in found]


def _postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _in_environment(table: str) -> sa.ForeignKeyConstraint:
    names = ["environments.tenant_id", "environments.id"]
    return sa.ForeignKeyConstraint(SCOPE, names, name=op.f(f"fk_{table}_environment_id"))


def _key(table: str, *columns: str, to: tuple[str, ...] = ("id",)) -> sa.ForeignKeyConstraint:
    names = [f"{table}.{name}" for name in (*SCOPE, *to)]
    return sa.ForeignKeyConstraint([*SCOPE, *columns], names, name=op.f(f"fk_{TABLE}_{columns[-1]}"))
