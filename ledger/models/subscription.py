"""Subscriptions: a customer on a plan from a date, with the rules that make its periods."""

from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped

from ledger.models.base import Base, Entity, in_environment, one_of, scoped_key


class Subscription(Entity, Base):
    __tablename__ = "subscriptions"
    __table_args__ = (
        in_environment(),
        scoped_key("customers", "customer_id"),
        scoped_key("plans", "plan_id"),
        one_of("status", "active", "scheduled", "cancelled"),
        one_of("collection_method", "charge_automatically", "send_invoice"),
        Index("ix_subscriptions_newest", "tenant_id", "environment_id", "created_at", "id"),
        Index("ix_subscriptions_customer", "tenant_id", "environment_id", "customer_id"),
        Index("ix_subscriptions_start_date", "start_date"),
    )

    customer_id: Mapped[str]
    plan_id: Mapped[str]
    status: Mapped[str]
    start_date: Mapped[datetime]
    end_date: Mapped[datetime | None]
    billing_anchor: Mapped[str]
    interval: Mapped[str]
    timezone: Mapped[str]
    currency: Mapped[str]
    collection_method: Mapped[str]
    meta: Mapped[dict[str, str]]
    created_at: Mapped[datetime]
