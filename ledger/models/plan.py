"""Plans, their prices, and the versions of each. A version is never edited."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ledger.models.base import Base, Entity, Scoped, in_environment, one_of, scoped_key


class Plan(Entity, Base):
    __tablename__ = "plans"
    __table_args__ = (
        in_environment(),
        UniqueConstraint("tenant_id", "environment_id", "key", name="uq_plans_key"),
        one_of("status", "active", "archived"),
        one_of("tier_progress", "reset", "continue"),
        Index("ix_plans_newest", "tenant_id", "environment_id", "created_at", "id"),
    )

    name: Mapped[str]
    key: Mapped[str]
    billing_period: Mapped[str]
    interval: Mapped[str]
    currency: Mapped[str]
    plan_type: Mapped[str]
    status: Mapped[str]
    description: Mapped[str | None]
    created_at: Mapped[datetime]
    latest_version: Mapped[int] = mapped_column(server_default=text("1"))
    tier_progress: Mapped[str] = mapped_column(server_default=text("'reset'"))


class PlanVersion(Scoped, Base):
    """What may change of a plan, as it was from `effective_from` on."""

    __tablename__ = "plan_versions"
    __table_args__ = (scoped_key("plans", "plan_id"), one_of("status", "active", "archived"))

    plan_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    description: Mapped[str | None]
    status: Mapped[str]
    effective_from: Mapped[datetime]


class Price(Entity, Base):
    """A price of a plan, or of one subscription to it, where it stands in for `overrides_price_id`: then its position
    is below zero."""

    __tablename__ = "prices"
    __table_args__ = (
        scoped_key("plans", "plan_id"),
        scoped_key("features", "feature_id"),
        scoped_key("subscriptions", "subscription_id"),
        scoped_key("prices", "overrides_price_id"),
        UniqueConstraint("tenant_id", "environment_id", "plan_id", "position", name="uq_prices_position"),
        Index("ix_prices_newest", "tenant_id", "environment_id", "created_at", "id"),
    )

    plan_id: Mapped[str]
    feature_id: Mapped[str | None]
    position: Mapped[int]
    latest_version: Mapped[int]
    subscription_id: Mapped[str | None]
    overrides_price_id: Mapped[str | None]
    # Always there; it was added to a filled table.
    created_at: Mapped[datetime] = mapped_column(nullable=True)


class PriceVersion(Scoped, Base):
    """`effective_from` and `apply_to` say which periods it bills, see `billing.price_version`."""

    __tablename__ = "price_versions"
    __table_args__ = (
        scoped_key("prices", "price_id"),
        one_of("apply_to", "every_period", "next_period", "running_period"),
        one_of("status", "active", "archived"),
    )

    price_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    spec: Mapped[dict[str, Any]]
    effective_from: Mapped[datetime]
    apply_to: Mapped[str] = mapped_column(server_default=text("'next_period'"))
    status: Mapped[str] = mapped_column(server_default=text("'active'"))
    # Both are always there; they were added to a filled table.
    display_name: Mapped[str] = mapped_column(nullable=True)
    created_at: Mapped[datetime] = mapped_column(nullable=True)
