"""Payments: money that moved or tried to, as the provider reports it."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped

from ledger.models.base import Base, Entity, in_environment, one_of, scoped_key


class Payment(Entity, Base):
    __tablename__ = "payments"
    __table_args__ = (
        in_environment(),
        scoped_key("invoices", "invoice_id"),
        scoped_key("customers", "customer_id"),
        UniqueConstraint(
            "tenant_id", "environment_id", "gateway", "gateway_payment_id", name="uq_payments_gateway_payment_id"
        ),
        one_of("method", "card", "payment_link", "offline"),
        one_of("status", "pending", "processing", "requires_action", "succeeded", "failed", "canceled", "refunded"),
        Index("ix_payments_newest", "tenant_id", "environment_id", "created_at", "id"),
        Index("ix_payments_invoice", "tenant_id", "environment_id", "invoice_id"),
        Index("ix_payments_customer", "tenant_id", "environment_id", "customer_id"),
    )

    invoice_id: Mapped[str | None]
    customer_id: Mapped[str]
    amount: Mapped[Decimal]
    currency: Mapped[str]
    method: Mapped[str]
    gateway: Mapped[str | None]
    status: Mapped[str]
    failure_code: Mapped[str | None]
    failure_message: Mapped[str | None]
    gateway_payment_id: Mapped[str | None]
    attempt: Mapped[int]
    succeeded_at: Mapped[datetime | None]
    checkout_url: Mapped[str | None]
    meta: Mapped[dict[str, str]]
    created_at: Mapped[datetime]
