"""Prepaid credit: grants, and the movements that say where each of them went. Movements are only added."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped

from ledger.models.base import Base, Entity, in_environment, one_of, scoped_key


class CreditGrant(Entity, Base):
    __tablename__ = "credit_grants"
    __table_args__ = (
        in_environment(),
        scoped_key("customers", "customer_id"),
        UniqueConstraint("tenant_id", "environment_id", "source", "source_id", name="uq_credit_grants_source"),
        one_of("source", "purchased", "promotional", "overpayment", "credit_note", "negative_invoice"),
        Index("ix_credit_grants_newest", "tenant_id", "environment_id", "customer_id", "created_at", "id"),
        Index("ix_credit_grants_expires_at", "expires_at"),
    )

    customer_id: Mapped[str]
    currency: Mapped[str]
    amount: Mapped[Decimal]
    remaining: Mapped[Decimal]
    priority: Mapped[int]
    effective_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    voided_at: Mapped[datetime | None]
    source: Mapped[str]
    source_id: Mapped[str | None]
    reason: Mapped[str | None]
    meta: Mapped[dict[str, str]]
    created_at: Mapped[datetime]


class CreditMovement(Entity, Base):
    """`amount` has a sign; `balance_after` is the customer's in this currency. `sequence` counts a customer's."""

    __tablename__ = "credit_movements"
    __table_args__ = (
        scoped_key("customers", "customer_id"),
        scoped_key("credit_grants", "grant_id"),
        scoped_key("invoices", "invoice_id"),
        UniqueConstraint("tenant_id", "environment_id", "customer_id", "sequence", name="uq_credit_movements_sequence"),
        one_of("kind", "granted", "applied", "returned", "expired", "voided"),
        Index("ix_credit_movements_invoice", "tenant_id", "environment_id", "invoice_id"),
    )

    customer_id: Mapped[str]
    sequence: Mapped[int]
    grant_id: Mapped[str]
    kind: Mapped[str]
    currency: Mapped[str]
    amount: Mapped[Decimal]
    balance_after: Mapped[Decimal]
    invoice_id: Mapped[str | None]
    credit_note_id: Mapped[str | None]
    created_at: Mapped[datetime]
