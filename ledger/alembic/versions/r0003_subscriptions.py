"""Customers, subscriptions and billable quantities.

Locks: none on existing tables; only new ones.
"""

import sqlalchemy as sa
from alembic import op

from ledger.types import ExactDecimal, ExactJson, UtcDateTime

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "customers",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("timezone", sa.Text(), nullable=True),
        sa.Column("meta", ExactJson(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("status IN ('active', 'archived')", name=op.f("ck_customers_status")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_customers_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "id", name=op.f("pk_customers")),
        sa.UniqueConstraint("tenant_id", "environment_id", "external_id", name="uq_customers_external_id"),
    )
    op.create_index(
        "ix_customers_newest", "customers", ["tenant_id", "environment_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "subscriptions",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("start_date", UtcDateTime(), nullable=False),
        sa.Column("end_date", UtcDateTime(), nullable=True),
        sa.Column("billing_anchor", sa.Text(), nullable=False),
        sa.Column("interval", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("collection_method", sa.Text(), nullable=False),
        sa.Column("meta", ExactJson(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "collection_method IN ('charge_automatically', 'send_invoice')",
            name=op.f("ck_subscriptions_collection_method"),
        ),
        sa.CheckConstraint("status IN ('active', 'scheduled', 'cancelled')", name=op.f("ck_subscriptions_status")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "customer_id"],
            ["customers.tenant_id", "customers.environment_id", "customers.id"],
            name=op.f("fk_subscriptions_customer_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "plan_id"],
            ["plans.tenant_id", "plans.environment_id", "plans.id"],
            name=op.f("fk_subscriptions_plan_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_subscriptions_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "id", name=op.f("pk_subscriptions")),
    )
    op.create_index(
        "ix_subscriptions_customer", "subscriptions", ["tenant_id", "environment_id", "customer_id"], unique=False
    )
    op.create_index(
        "ix_subscriptions_newest", "subscriptions", ["tenant_id", "environment_id", "created_at", "id"], unique=False
    )
    op.create_index("ix_subscriptions_start_date", "subscriptions", ["start_date"], unique=False)
    op.create_table(
        "quantities",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("subscription_id", sa.Text(), nullable=False),
        sa.Column("period_start", UtcDateTime(), nullable=False),
        sa.Column("price_id", sa.Text(), nullable=False),
        sa.Column("period_end", UtcDateTime(), nullable=False),
        sa.Column("price_version", sa.Integer(), nullable=False),
        sa.Column("meter_id", sa.Text(), nullable=False),
        sa.Column("meter_version", sa.Integer(), nullable=False),
        sa.Column("quantity", ExactDecimal(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("quantity_hash", sa.Text(), nullable=False),
        sa.Column("watermark", UtcDateTime(), nullable=False),
        sa.Column("builds", ExactJson(), nullable=False),
        sa.Column("computed_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "meter_id", "meter_version"],
            [
                "meter_versions.tenant_id",
                "meter_versions.environment_id",
                "meter_versions.meter_id",
                "meter_versions.version",
            ],
            name=op.f("fk_quantities_meter_version"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "price_id", "price_version"],
            [
                "price_versions.tenant_id",
                "price_versions.environment_id",
                "price_versions.price_id",
                "price_versions.version",
            ],
            name=op.f("fk_quantities_price_version"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "subscription_id"],
            ["subscriptions.tenant_id", "subscriptions.environment_id", "subscriptions.id"],
            name=op.f("fk_quantities_subscription_id"),
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "environment_id", "subscription_id", "period_start", "price_id", name=op.f("pk_quantities")
        ),
    )


def downgrade() -> None:
    op.drop_table("quantities")
    op.drop_table("subscriptions")
    op.drop_table("customers")
