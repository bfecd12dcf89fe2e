"""Coupons, and who has which.

Locks: none on existing tables; only new ones.
"""

import sqlalchemy as sa
from alembic import op

from ledger.types import ExactDecimal, UtcDateTime

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | None = None
depends_on: str | None = None

SCOPE = ["tenant_id", "environment_id"]


def upgrade() -> None:
    op.create_table(
        "coupons",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("percent_off", ExactDecimal(), nullable=True),
        sa.Column("amount_off", ExactDecimal(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("duration", sa.Text(), nullable=False),
        sa.Column("periods", sa.Integer(), nullable=True),
        sa.Column("redeem_by", UtcDateTime(), nullable=True),
        sa.Column("max_redemptions", sa.Integer(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("duration IN ('once', 'repeating', 'forever')", name=op.f("ck_coupons_duration")),
        sa.CheckConstraint("status IN ('active', 'archived')", name=op.f("ck_coupons_status")),
        sa.ForeignKeyConstraint(
            SCOPE, ["environments.tenant_id", "environments.id"], name=op.f("fk_coupons_environment_id")
        ),
        sa.PrimaryKeyConstraint(*SCOPE, "id", name=op.f("pk_coupons")),
        sa.UniqueConstraint(*SCOPE, "code", name="uq_coupons_code"),
    )
    op.create_index("ix_coupons_newest", "coupons", [*SCOPE, "created_at", "id"])
    op.create_table(
        "discounts",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("coupon_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("subscription_id", sa.Text(), nullable=True),
        sa.Column("starts_at", UtcDateTime(), nullable=False),
        sa.Column("ends_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            SCOPE, ["environments.tenant_id", "environments.id"], name=op.f("fk_discounts_environment_id")
        ),
        *(
            sa.ForeignKeyConstraint(
                [*SCOPE, f"{name}_id"],
                [f"{name}s.tenant_id", f"{name}s.environment_id", f"{name}s.id"],
                name=op.f(f"fk_discounts_{name}_id"),
            )
            for name in ("coupon", "customer", "subscription")
        ),
        sa.PrimaryKeyConstraint(*SCOPE, "id", name=op.f("pk_discounts")),
    )
    op.create_index("ix_discounts_newest", "discounts", [*SCOPE, "created_at", "id"])
    op.create_index("ix_discounts_customer", "discounts", [*SCOPE, "customer_id"])
    op.create_index("ix_discounts_coupon", "discounts", [*SCOPE, "coupon_id"])


def downgrade() -> None:
    op.drop_table("discounts")
    op.drop_table("coupons")
