"""Meters, features, plans and prices, with their versions.

Locks: none on existing tables; only new ones.
"""

import sqlalchemy as sa
from alembic import op

from ledger.types import ExactJson, UtcDateTime

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "meters",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("latest_version", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_meters_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "id", name=op.f("pk_meters")),
    )
    op.create_index("ix_meters_newest", "meters", ["tenant_id", "environment_id", "created_at", "id"], unique=False)
    op.create_table(
        "plans",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("billing_period", sa.Text(), nullable=False),
        sa.Column("interval", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("plan_type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("status IN ('active', 'archived')", name=op.f("ck_plans_status")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_plans_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "id", name=op.f("pk_plans")),
        sa.UniqueConstraint("tenant_id", "environment_id", "key", name="uq_plans_key"),
    )
    op.create_index("ix_plans_newest", "plans", ["tenant_id", "environment_id", "created_at", "id"], unique=False)
    op.create_table(
        "features",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("feature_type", sa.Text(), nullable=False),
        sa.Column("meter_id", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("feature_type IN ('metered', 'boolean', 'static')", name=op.f("ck_features_feature_type")),
        sa.CheckConstraint("status IN ('active', 'archived')", name=op.f("ck_features_status")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "meter_id"],
            ["meters.tenant_id", "meters.environment_id", "meters.id"],
            name=op.f("fk_features_meter_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=op.f("fk_features_environment_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "id", name=op.f("pk_features")),
        sa.UniqueConstraint("tenant_id", "environment_id", "key", name="uq_features_key"),
    )
    op.create_index("ix_features_newest", "features", ["tenant_id", "environment_id", "created_at", "id"], unique=False)
    op.create_table(
        "meter_versions",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("meter_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("definition", ExactJson(), nullable=False),
        sa.Column("effective_from", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "meter_id"],
            ["meters.tenant_id", "meters.environment_id", "meters.id"],
            name=op.f("fk_meter_versions_meter_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "meter_id", "version", name=op.f("pk_meter_versions")),
    )
    op.create_table(
        "prices",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("feature_id", sa.Text(), nullable=True),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("latest_version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "feature_id"],
            ["features.tenant_id", "features.environment_id", "features.id"],
            name=op.f("fk_prices_feature_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "plan_id"],
            ["plans.tenant_id", "plans.environment_id", "plans.id"],
            name=op.f("fk_prices_plan_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "id", name=op.f("pk_prices")),
        sa.UniqueConstraint("tenant_id", "environment_id", "plan_id", "position", name="uq_prices_position"),
    )
    op.create_table(
        "price_versions",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("price_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("spec", ExactJson(), nullable=False),
        sa.Column("effective_from", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id", "price_id"],
            ["prices.tenant_id", "prices.environment_id", "prices.id"],
            name=op.f("fk_price_versions_price_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "price_id", "version", name=op.f("pk_price_versions")),
    )


def downgrade() -> None:
    op.drop_table("price_versions")
    op.drop_table("prices")
    op.drop_table("plans")
    op.drop_table("features")
    op.drop_table("meter_versions")
    op.drop_table("meters")
