"""Subscriptions: a customer on a plan from a date, the rules that make its periods, and what became of it."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ledger.models.base import Base, Entity, Scoped, in_environment, one_of, scoped_key


class Subscription(Entity, Base):
    """`plan_id` is the plan of its first day; `due_from` and `due_revision`: see `ledger.store.subscription_dues`."""

    __tablename__ = "subscriptions"
    __table_args__ = (
        in_environment(),
        scoped_key("customers", "customer_id"),
        scoped_key("plans", "plan_id"),
        one_of("collection_method", "charge_automatically", "send_invoice"),
        Index("ix_subscriptions_newest", "tenant_id", "environment_id", "created_at", "id"),
        Index("ix_subscriptions_customer", "tenant_id", "environment_id", "customer_id"),
        Index("ix_subscriptions_start_date", "start_date"),
        Index("ix_subscriptions_due_from", "due_from"),
    )

    customer_id: Mapped[str]
    plan_id: Mapped[str]
    start_date: Mapped[datetime]
    end_date: Mapped[datetime | None]
    trial_end: Mapped[datetime | None]
    billing_anchor: Mapped[str]
    interval: Mapped[str]
    timezone: Mapped[str]
    currency: Mapped[str]
    collection_method: Mapped[str]
    meta: Mapped[dict[str, str]]
    created_at: Mapped[datetime]
    due_from: Mapped[datetime | None]
    due_revision: Mapped[int] = mapped_column(server_default=text("0"))


class SubscriptionChange(Scoped, Base):
    """An entry of a subscription's history, see `billing.subscription`. A trigger refuses to change or delete one."""

    __tablename__ = "subscription_changes"
    __table_args__ = (
        scoped_key("subscriptions", "subscription_id"),
        scoped_key("plans", "plan_id"),
        one_of(
            "kind",
            "plan_changed",
            "quantity_changed",
            "price_overridden",
            "paused",
            "resumed",
            "cancelled",
            "cancellation_withdrawn",
            "change_withdrawn",
        ),
        UniqueConstraint(
            "tenant_id", "environment_id", "subscription_id", "withdraws", name="uq_subscription_changes_withdraws"
        ),
        Index("ix_subscription_changes_plan", "tenant_id", "environment_id", "plan_id"),
    )

    subscription_id: Mapped[str] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    effective_at: Mapped[datetime]
    plan_id: Mapped[str | None]
    values: Mapped[dict[str, Any]]
    withdraws: Mapped[int | None]
    reason: Mapped[str | None]
    actor: Mapped[str]
    created_at: Mapped[datetime]
