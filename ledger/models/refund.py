"""Refunds that were asked for here: each try a row of its own, with what the provider made of it."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped

from ledger.models.base import Base, Entity, in_environment, one_of, scoped_key


class Refund(Entity, Base):
    """`gateway` is null where money goes back outside a provider; `credit_note_id` names the note that it settles."""

    __tablename__ = "refunds"
    __table_args__ = (
        in_environment(),
        scoped_key("payments", "payment_id"),
        scoped_key("credit_notes", "credit_note_id"),
        UniqueConstraint(
            "tenant_id", "environment_id", "gateway", "gateway_refund_id", name="uq_refunds_gateway_refund_id"
        ),
        one_of("status", "pending", "succeeded", "failed", "canceled"),
        Index("ix_refunds_payment", "tenant_id", "environment_id", "payment_id", "id"),
        Index("ix_refunds_credit_note", "tenant_id", "environment_id", "credit_note_id"),
    )

    payment_id: Mapped[str]
    credit_note_id: Mapped[str | None]
    amount: Mapped[Decimal]
    currency: Mapped[str]
    reason: Mapped[str | None]
    status: Mapped[str]
    gateway: Mapped[str | None]
    gateway_refund_id: Mapped[str | None]
    failure_reason: Mapped[str | None]
    settled_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
