"""Plans, their prices, and the versions of each price. A price version is never edited."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ledger.models.base import Base, Entity, Scoped, in_environment, one_of, scoped_key


class Plan(Entity, Base):
    __tablename__ = "plans"
    __table_args__ = (
        in_environment(),
        UniqueConstraint("tenant_id", "environment_id", "key", name="uq_plans_key"),
        one_of("status", "active", "archived"),
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


class Price(Entity, Base):
    __tablename__ = "prices"
    __table_args__ = (
        scoped_key("plans", "plan_id"),
        scoped_key("features", "feature_id"),
        UniqueConstraint("tenant_id", "environment_id", "plan_id", "position", name="uq_prices_position"),
    )

    plan_id: Mapped[str]
    feature_id: Mapped[str | None]
    display_name: Mapped[str]
    position: Mapped[int]
    latest_version: Mapped[int]


class PriceVersion(Scoped, Base):
    __tablename__ = "price_versions"
    __table_args__ = (scoped_key("prices", "price_id"),)

    price_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    spec: Mapped[dict[str, Any]]
    effective_from: Mapped[datetime]
