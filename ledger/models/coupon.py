"""Coupons, whose terms never change, and discounts: a coupon that a customer or one of their subscriptions has."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped

from ledger.models.base import Base, Entity, in_environment, one_of, scoped_key


class Coupon(Entity, Base):
    __tablename__ = "coupons"
    __table_args__ = (
        in_environment(),
        UniqueConstraint("tenant_id", "environment_id", "code", name="uq_coupons_code"),
        one_of("duration", "once", "repeating", "forever"),
        one_of("status", "active", "archived"),
        Index("ix_coupons_newest", "tenant_id", "environment_id", "created_at", "id"),
    )

    code: Mapped[str]
    name: Mapped[str]
    percent_off: Mapped[Decimal | None]
    amount_off: Mapped[Decimal | None]
    currency: Mapped[str | None]
    duration: Mapped[str]
    periods: Mapped[int | None]
    redeem_by: Mapped[datetime | None]
    max_redemptions: Mapped[int | None]
    status: Mapped[str]
    created_at: Mapped[datetime]


class Discount(Entity, Base):
    __tablename__ = "discounts"
    __table_args__ = (
        in_environment(),
        scoped_key("coupons", "coupon_id"),
        scoped_key("customers", "customer_id"),
        scoped_key("subscriptions", "subscription_id"),
        Index("ix_discounts_newest", "tenant_id", "environment_id", "created_at", "id"),
        Index("ix_discounts_customer", "tenant_id", "environment_id", "customer_id"),
        Index("ix_discounts_coupon", "tenant_id", "environment_id", "coupon_id"),
    )

    coupon_id: Mapped[str]
    customer_id: Mapped[str]
    subscription_id: Mapped[str | None]
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
