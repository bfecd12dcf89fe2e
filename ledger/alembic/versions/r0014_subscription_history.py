"""What becomes of a subscription is a history of changes; quantities are per segment of a period.

A subscription's status follows from its dates, so its column goes. A price may belong to one subscription, where it
stands in for a price of the plan. A quantity has its segment in its key: until now each period was one.
Locks: ACCESS EXCLUSIVE on `quantities` while its key is built anew, about a second for a million, and on `plans`,
`prices` and `subscriptions` for the change of the catalogue. SQLite copies `prices`, `subscriptions` and `quantities`.
"""

from typing import Literal

import sqlalchemy as sa
from alembic import op

from ledger.types import ExactJson, UtcDateTime

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | None = None
depends_on: str | None = None

SCOPE = ["tenant_id", "environment_id"]
KINDS = (
    "kind IN ('plan_changed', 'quantity_changed', 'price_overridden', 'paused', 'resumed', 'cancelled',"
    " 'cancellation_withdrawn', 'change_withdrawn')"
)
STATUSES = "status IN ('active', 'scheduled', 'cancelled')"
OVERRIDES = (
    ("fk_prices_subscription_id", "subscriptions", "subscription_id"),
    ("fk_prices_overrides_price_id", "prices", "overrides_price_id"),
)
FROZEN_ON_POSTGRESQL = (
    """
        CREATE TRIGGER subscription_changes_frozen BEFORE UPDATE OR DELETE ON subscription_changes FOR EACH ROW
        EXECUTE FUNCTION tallyhouse_refuse('the history of a subscription only grows')""",
)
FROZEN_ON_SQLITE = (
    """
        CREATE TRIGGER subscription_changes_frozen BEFORE UPDATE ON subscription_changes
        BEGIN SELECT RAISE(ABORT, 'the history of a subscription only grows'); END""",
    """
        CREATE TRIGGER subscription_changes_kept BEFORE DELETE ON subscription_changes
        BEGIN SELECT RAISE(ABORT, 'the history of a subscription only grows'); END""",
)


def upgrade() -> None:
    if _postgresql():
        op.execute("SET LOCAL lock_timeout = '5s'")
    # Written out, so that the CHECK comes with the column: SQLite adds none to a table that is there.
    op.execute(
        "ALTER TABLE plans ADD COLUMN tier_progress TEXT DEFAULT 'reset' NOT NULL CONSTRAINT ck_plans_tier_progress"
        " CHECK (tier_progress IN ('reset', 'continue'))"
    )
    with op.batch_alter_table("subscriptions", recreate=_copied()) as batch:
        batch.add_column(sa.Column("trial_end", UtcDateTime(), nullable=True))
        batch.drop_constraint(op.f("ck_subscriptions_status"), type_="check")
        batch.drop_column("status")
    op.create_table(
        "subscription_changes",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("subscription_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("effective_at", UtcDateTime(), nullable=False),
        sa.Column("plan_id", sa.Text(), nullable=True),
        sa.Column("values", ExactJson(), nullable=False),
        sa.Column("withdraws", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(KINDS, name=op.f("ck_subscription_changes_kind")),
        sa.ForeignKeyConstraint(
            [*SCOPE, "plan_id"],
            ["plans.tenant_id", "plans.environment_id", "plans.id"],
            name=op.f("fk_subscription_changes_plan_id"),
        ),
        sa.ForeignKeyConstraint(
            [*SCOPE, "subscription_id"],
            ["subscriptions.tenant_id", "subscriptions.environment_id", "subscriptions.id"],
            name=op.f("fk_subscription_changes_subscription_id"),
        ),
        sa.PrimaryKeyConstraint(*SCOPE, "subscription_id", "sequence", name=op.f("pk_subscription_changes")),
        sa.UniqueConstraint(*SCOPE, "subscription_id", "withdraws", name="uq_subscription_changes_withdraws"),
    )
    op.create_index("ix_subscription_changes_plan", "subscription_changes", [*SCOPE, "plan_id"], unique=False)
    for statement in FROZEN_ON_POSTGRESQL if _postgresql() else FROZEN_ON_SQLITE:
        op.get_bind().exec_driver_sql(statement)
    with op.batch_alter_table("prices", recreate=_copied()) as batch:
        for name, table, column in OVERRIDES:
            batch.add_column(sa.Column(column, sa.Text(), nullable=True))
            batch.create_foreign_key(op.f(name), table, [*SCOPE, column], [*SCOPE, "id"])
    with op.batch_alter_table("quantities", recreate=_copied()) as batch:
        batch.add_column(sa.Column("segment_start", UtcDateTime(), nullable=True))
        batch.add_column(sa.Column("segment_end", UtcDateTime(), nullable=True))
    op.execute("UPDATE quantities SET segment_start = period_start, segment_end = period_end")
    _key_quantities_by("segment_start", nullable=False)


def downgrade() -> None:
    op.execute("DELETE FROM quantities WHERE segment_start <> period_start")
    _key_quantities_by(None, nullable=True)
    with op.batch_alter_table("quantities", recreate=_copied()) as batch:
        batch.drop_column("segment_end")
        batch.drop_column("segment_start")
    with op.batch_alter_table("prices", recreate=_copied()) as batch:
        for name, _, column in reversed(OVERRIDES):
            batch.drop_constraint(op.f(name), type_="foreignkey")
            batch.drop_column(column)
    op.drop_table("subscription_changes")
    with op.batch_alter_table("subscriptions", recreate=_copied()) as batch:
        batch.add_column(sa.Column("status", sa.Text(), nullable=False, server_default="active"))
        batch.create_check_constraint(op.f("ck_subscriptions_status"), STATUSES)
        batch.drop_column("trial_end")
    op.execute("ALTER TABLE plans DROP COLUMN tier_progress")


def _key_quantities_by(last: str | None, *, nullable: bool) -> None:
    key = [*SCOPE, "subscription_id", "period_start", "price_id", *([last] if last else [])]
    with op.batch_alter_table("quantities", recreate=_copied()) as batch:
        batch.drop_constraint(op.f("pk_quantities"), type_="primary")
        for name in ("segment_start", "segment_end"):
            batch.alter_column(name, existing_type=UtcDateTime(), nullable=nullable)
        batch.create_primary_key(op.f("pk_quantities"), key)


def _postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _copied() -> Literal["always", "never"]:
    return "never" if _postgresql() else "always"
