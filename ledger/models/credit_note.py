"""Credit notes on finalized invoices, and the counters behind their gapless numbers."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ledger.models.base import Base, Entity, Scoped, in_environment, one_of, scoped_key


class CreditNote(Entity, Base):
    """`lines` are `billing.credit_note.CreditedLine` as JSON. A trigger keeps all but what voiding sets."""

    __tablename__ = "credit_notes"
    __table_args__ = (
        in_environment(),
        scoped_key("invoices", "invoice_id"),
        scoped_key("customers", "customer_id"),
        UniqueConstraint("tenant_id", "environment_id", "number", name="uq_credit_notes_number"),
        one_of("status", "issued", "void"),
        one_of("settle_as", "credit", "refund"),
        Index("ix_credit_notes_newest", "tenant_id", "environment_id", "created_at", "id"),
        Index("ix_credit_notes_invoice", "tenant_id", "environment_id", "invoice_id"),
    )

    invoice_id: Mapped[str]
    customer_id: Mapped[str]
    number: Mapped[str]
    status: Mapped[str]
    reason: Mapped[str]
    currency: Mapped[str]
    total: Mapped[Decimal]
    tax_total: Mapped[Decimal]
    pre_payment: Mapped[Decimal]
    credit_returned: Mapped[Decimal]
    paid_back: Mapped[Decimal]
    settle_as: Mapped[str]
    lines: Mapped[list[Any]]
    voided_at: Mapped[datetime | None]
    void_reason: Mapped[str | None]
    created_at: Mapped[datetime]


class CreditNoteCounter(Scoped, Base):
    """The last number given in one environment and month (YYYYMM, UTC)."""

    __tablename__ = "credit_note_counters"
    __table_args__ = (in_environment(),)

    month: Mapped[str] = mapped_column(primary_key=True)
    last_number: Mapped[int]
