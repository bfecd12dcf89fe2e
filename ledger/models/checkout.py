"""Checkout sessions: pages of the provider that a customer was sent to, for saving a card or for paying."""

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped

from ledger.models.base import Base, Entity, in_environment, one_of, scoped_key


class Checkout(Entity, Base):
    __tablename__ = "checkouts"
    __table_args__ = (
        in_environment(),
        scoped_key("customers", "customer_id"),
        scoped_key("payments", "payment_id"),
        UniqueConstraint("tenant_id", "environment_id", "gateway_session_id", name="uq_checkouts_gateway_session_id"),
        one_of("purpose", "setup", "payment"),
        one_of("status", "open", "complete", "expired"),
        Index("ix_checkouts_newest", "tenant_id", "environment_id", "created_at", "id"),
        Index("ix_checkouts_customer", "tenant_id", "environment_id", "customer_id"),
    )

    customer_id: Mapped[str]
    purpose: Mapped[str]
    payment_id: Mapped[str | None]
    gateway_session_id: Mapped[str | None]
    setup_intent_id: Mapped[str | None]
    url: Mapped[str | None]
    set_default: Mapped[bool]
    success_url: Mapped[str]
    cancel_url: Mapped[str]
    status: Mapped[str]
    expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
