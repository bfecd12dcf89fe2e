"""Connections to a payment provider, mappings, payments and checkouts.

Locks: none on existing tables; only new ones.
"""

import sqlalchemy as sa
from alembic import op

from ledger.types import ExactDecimal, ExactJson, UtcDateTime

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "connections",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=True),
        sa.Column("sync_config", ExactJson(), nullable=False),
        sa.Column("sealed_secrets", sa.Text(), nullable=True),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("secret_key_last4", sa.Text(), nullable=False),
        sa.Column("webhook_secret_last4", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("deleted_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("provider IN ('stripe')", name=op.f("ck_connections_provider")),
        sa.CheckConstraint("status IN ('active', 'disabled')", name=op.f("ck_connections_status")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_connections_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "id", name=op.f("pk_connections")),
    )
    op.create_index(
        "uq_connections_active",
        "connections",
        ["tenant_id", "environment_id", "provider"],
        unique=True,
        sqlite_where=sa.text("status = 'active' AND deleted_at IS NULL"),
        postgresql_where=sa.text("status = 'active' AND deleted_at IS NULL"),
    )
    op.create_table(
        "mappings",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("connection_id", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("detail", ExactJson(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "entity IN ('customer', 'invoice', 'payment', 'plan', 'subscription')", name=op.f("ck_mappings_entity")
        ),
        sa.CheckConstraint(
            "state IN ('intended', 'created', 'finalized', 'done', 'failed')", name=op.f("ck_mappings_state")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "connection_id"],
            ["connections.tenant_id", "connections.environment_id", "connections.id"],
            name=op.f("fk_mappings_connection_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "id", name=op.f("pk_mappings")),
        sa.UniqueConstraint(
            "tenant_id", "environment_id", "connection_id", "entity", "entity_id", name="uq_mappings_entity"
        ),
        sa.UniqueConstraint(
            "tenant_id", "environment_id", "connection_id", "entity", "provider_id", name="uq_mappings_provider_id"
        ),
    )
    op.create_index("ix_mappings_newest", "mappings", ["tenant_id", "environment_id", "created_at", "id"], unique=False)
    op.create_table(
        "payments",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("invoice_id", sa.Text(), nullable=True),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("amount", ExactDecimal(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("failure_code", sa.Text(), nullable=True),
        sa.Column("failure_message", sa.Text(), nullable=True),
        sa.Column("gateway_payment_id", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("succeeded_at", UtcDateTime(), nullable=True),
        sa.Column("checkout_url", sa.Text(), nullable=True),
        sa.Column("meta", ExactJson(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("method IN ('card', 'payment_link', 'offline')", name=op.f("ck_payments_method")),
        sa.CheckConstraint(
            "status IN ('pending', 'processing', 'requires_action', 'succeeded', 'failed', 'canceled', 'refunded')",
            name=op.f("ck_payments_status"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "customer_id"],
            ["customers.tenant_id", "customers.environment_id", "customers.id"],
            name=op.f("fk_payments_customer_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "invoice_id"],
            ["invoices.tenant_id", "invoices.environment_id", "invoices.id"],
            name=op.f("fk_payments_invoice_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_payments_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "id", name=op.f("pk_payments")),
        sa.UniqueConstraint(
            "tenant_id", "environment_id", "gateway", "gateway_payment_id", name="uq_payments_gateway_payment_id"
        ),
    )
    op.create_index("ix_payments_customer", "payments", ["tenant_id", "environment_id", "customer_id"], unique=False)
    op.create_index("ix_payments_invoice", "payments", ["tenant_id", "environment_id", "invoice_id"], unique=False)
    op.create_index("ix_payments_newest", "payments", ["tenant_id", "environment_id", "created_at", "id"], unique=False)
    op.create_table(
        "checkouts",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=True),
        sa.Column("gateway_session_id", sa.Text(), nullable=True),
        sa.Column("setup_intent_id", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("set_default", sa.Boolean(), nullable=False),
        sa.Column("success_url", sa.Text(), nullable=False),
        sa.Column("cancel_url", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("purpose IN ('setup', 'payment')", name=op.f("ck_checkouts_purpose")),
        sa.CheckConstraint("status IN ('open', 'complete', 'expired')", name=op.f("ck_checkouts_status")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "customer_id"],
            ["customers.tenant_id", "customers.environment_id", "customers.id"],
            name=op.f("fk_checkouts_customer_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "payment_id"],
            ["payments.tenant_id", "payments.environment_id", "payments.id"],
            name=op.f("fk_checkouts_payment_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_checkouts_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "id", name=op.f("pk_checkouts")),
        sa.UniqueConstraint(
            "tenant_id", "environment_id", "gateway_session_id", name="uq_checkouts_gateway_session_id"
        ),
    )
    op.create_index("ix_checkouts_customer", "checkouts", ["tenant_id", "environment_id", "customer_id"], unique=False)
    op.create_index(
        "ix_checkouts_newest", "checkouts", ["tenant_id", "environment_id", "created_at", "id"], unique=False
    )


def downgrade() -> None:
    op.drop_table("checkouts")
    op.drop_table("payments")
    op.drop_table("mappings")
    op.drop_table("connections")
