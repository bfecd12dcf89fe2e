"""Final periods that environments have had rated again, and the lines that differ.

Locks: none on existing tables; only new ones.
"""

import sqlalchemy as sa
from alembic import op

from ledger.types import ExactDecimal, ExactJson, UtcDateTime

revision: str = "0026"
down_revision: str | None = "0025"
branch_labels: str | None = None
depends_on: str | None = None

SCOPE = ["tenant_id", "environment_id"]
IS_RUNNING = sa.text("status = 'running'")


def upgrade() -> None:
    op.create_table(
        "rerates",
        *_texts(*SCOPE, "id", "status", "first_day", "last_day", "requested_by"),
        *_texts("customer_id", "subscription_id", "meter_id", "after_invoice_id", nullable=True),
        *(sa.Column(name, ExactJson(), nullable=False) for name in ("price_versions", "failures")),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("invoices", "lines", "differences")),
        *_moments("prices_at", "watermark", "after_end", "leased_until", "finished_at", nullable=True),
        *_moments("requested_at"),
        sa.CheckConstraint("status IN ('running', 'done')", name=op.f("ck_rerates_status")),
        _in_environment("rerates"),
        _key("rerates", "customers", "customer_id"),
        _key("rerates", "subscriptions", "subscription_id"),
        sa.PrimaryKeyConstraint(*SCOPE, "id", name=op.f("pk_rerates")),
    )
    op.create_index("ix_rerates_newest", "rerates", [*SCOPE, "requested_at", "id"])
    op.create_index(
        "ix_rerates_running", "rerates", ["requested_at"], sqlite_where=IS_RUNNING, postgresql_where=IS_RUNNING
    )
    texts = ("rerate_id", "invoice_id", "line_id", "customer_id", "subscription_id", "display_name", "price_id")
    op.create_table(
        "rerate_differences",
        *_texts(*SCOPE, *texts, "currency"),
        *_texts("invoice_number", "adjustment_id", nullable=True),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("position", "billed_version", "price_version")),
        *_moments("period_start", "period_end"),
        *(sa.Column(name, ExactDecimal(), nullable=False) for name in ("billed_quantity", "quantity", "billed", "due")),
        _in_environment("rerate_differences"),
        _key("rerate_differences", "rerates", "rerate_id"),
        _key("rerate_differences", "invoices", "invoice_id"),
        _key("rerate_differences", "invoice_lines", "line_id"),
        sa.PrimaryKeyConstraint(*SCOPE, "rerate_id", "position", name=op.f("pk_rerate_differences")),
    )
    op.create_index("ix_rerate_differences_invoice", "rerate_differences", [*SCOPE, "rerate_id", "invoice_id"])


def downgrade() -> None:
    op.drop_table("rerate_differences")
    op.drop_table("rerates")


def _texts(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=nullable) for name in names]


def _moments(*names: str, nullable: bool = False) -> list[sa.Column[object]]:
    return [sa.Column(name, UtcDateTime(), nullable=nullable) for name in names]


def _in_environment(table: str) -> sa.ForeignKeyConstraint:
    names = ["environments.tenant_id", "environments.id"]
    return sa.ForeignKeyConstraint(SCOPE, names, name=op.f(f"fk_{table}_environment_id"))


def _key(table: str, to: str, column: str) -> sa.ForeignKeyConstraint:
    names = [f"{to}.{name}" for name in (*SCOPE, "id")]
    return sa.ForeignKeyConstraint([*SCOPE, column], names, name=op.f(f"fk_{table}_{column}"))
