"""Invoices, their lines and the counters of their numbers.

Locks: none on existing tables; only new ones.
"""

import sqlalchemy as sa
from alembic import op

from ledger.types import ExactDecimal, ExactJson, UtcDateTime

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "invoice_counters",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_invoice_counters_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "month", name=op.f("pk_invoice_counters")),
    )
    op.create_table(
        "invoices",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("subscription_id", sa.Text(), nullable=True),
        sa.Column("number", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("payment_status", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("subtotal", ExactDecimal(), nullable=False),
        sa.Column("total", ExactDecimal(), nullable=False),
        sa.Column("amount_due", ExactDecimal(), nullable=False),
        sa.Column("amount_paid", ExactDecimal(), nullable=False),
        sa.Column("period_start", UtcDateTime(), nullable=False),
        sa.Column("period_end", UtcDateTime(), nullable=False),
        sa.Column("collection_method", sa.Text(), nullable=False),
        sa.Column("watermark", UtcDateTime(), nullable=True),
        sa.Column("inputs_hash", sa.Text(), nullable=True),
        sa.Column("code_version", sa.Text(), nullable=True),
        sa.Column("priced_at", UtcDateTime(), nullable=True),
        sa.Column("finalized_at", UtcDateTime(), nullable=True),
        sa.Column("paid_at", UtcDateTime(), nullable=True),
        sa.Column("voided_at", UtcDateTime(), nullable=True),
        sa.Column("payment_details", ExactJson(), nullable=True),
        sa.Column("stripe_hosted_invoice_url", sa.Text(), nullable=True),
        sa.Column("invoice_pdf_url", sa.Text(), nullable=True),
        sa.Column("meta", ExactJson(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "collection_method IN ('charge_automatically', 'send_invoice')", name=op.f("ck_invoices_collection_method")
        ),
        sa.CheckConstraint(
            "payment_status IN ('pending', 'processing', 'paid', 'failed', 'partially_paid', 'refunded')",
            name=op.f("ck_invoices_payment_status"),
        ),
        sa.CheckConstraint("status != 'finalized' OR number IS NOT NULL", name=op.f("ck_invoices_has_number")),
        sa.CheckConstraint("status IN ('draft', 'finalized', 'void')", name=op.f("ck_invoices_status")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "customer_id"],
            ["customers.tenant_id", "customers.environment_id", "customers.id"],
            name=op.f("fk_invoices_customer_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "subscription_id"],
            ["subscriptions.tenant_id", "subscriptions.environment_id", "subscriptions.id"],
            name=op.f("fk_invoices_subscription_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_invoices_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "id", name=op.f("pk_invoices")),
        sa.UniqueConstraint("tenant_id", "environment_id", "number", name="uq_invoices_number"),
        sa.UniqueConstraint(
            "tenant_id", "environment_id", "subscription_id", "period_start", name="uq_invoices_subscription_period"
        ),
    )
    op.create_index(
        "ix_invoices_customer", "invoices", ["tenant_id", "environment_id", "customer_id", "created_at"], unique=False
    )
    op.create_index("ix_invoices_newest", "invoices", ["tenant_id", "environment_id", "created_at", "id"], unique=False)
    op.create_index("ix_invoices_period_end", "invoices", ["period_end", "status"], unique=False)
    op.create_table(
        "invoice_lines",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("invoice_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("price_type", sa.Text(), nullable=False),
        sa.Column("quantity", ExactDecimal(), nullable=False),
        sa.Column("amount", ExactDecimal(), nullable=False),
        sa.Column("unrounded", ExactDecimal(), nullable=False),
        sa.Column("period_start", UtcDateTime(), nullable=False),
        sa.Column("period_end", UtcDateTime(), nullable=False),
        sa.Column("price_id", sa.Text(), nullable=False),
        sa.Column("price_version", sa.Integer(), nullable=False),
        sa.Column("meter_id", sa.Text(), nullable=True),
        sa.Column("meter_version", sa.Integer(), nullable=True),
        sa.Column("breakdown", ExactJson(), nullable=False),
        sa.Column("watermark", UtcDateTime(), nullable=True),
        sa.Column("quantity_hash", sa.Text(), nullable=True),
        sa.CheckConstraint("price_type IN ('fixed', 'usage')", name=op.f("ck_invoice_lines_price_type")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "invoice_id"],
            ["invoices.tenant_id", "invoices.environment_id", "invoices.id"],
            name=op.f("fk_invoice_lines_invoice_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "meter_id", "meter_version"],
            [
                "meter_versions.tenant_id",
                "meter_versions.environment_id",
                "meter_versions.meter_id",
                "meter_versions.version",
            ],
            name=op.f("fk_invoice_lines_meter_version"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "price_id", "price_version"],
            [
                "price_versions.tenant_id",
                "price_versions.environment_id",
                "price_versions.price_id",
                "price_versions.version",
            ],
            name=op.f("fk_invoice_lines_price_version"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "id", name=op.f("pk_invoice_lines")),
        sa.UniqueConstraint("tenant_id", "environment_id", "invoice_id", "key", name="uq_invoice_lines_key"),
    )


def downgrade() -> None:
    op.drop_table("invoice_counters")
    op.drop_table("invoice_lines")
    op.drop_table("invoices")
