"""What finalized lines have come to since, and how far late events have been looked for."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped

from ledger.models.base import Base, Entity, Scoped, in_environment, one_of, scoped_key


class LineAdjustment(Entity, Base):
    """The `sequence`-th difference of a line of the finalized invoice `invoice_id`, see `billing.line_adjustment`.

    It covers the events received in (`seen_before`, `watermark`]. What carries it is `carried_by`, an invoice, or a
    credit note; what has become of that says what has become of the adjustment.
    """

    __tablename__ = "line_adjustments"
    __table_args__ = (
        in_environment(),
        scoped_key("customers", "customer_id"),
        scoped_key("subscriptions", "subscription_id"),
        scoped_key("invoices", "invoice_id"),
        scoped_key("invoice_lines", "line_id"),
        scoped_key("invoices", "carried_by"),
        scoped_key("credit_notes", "credit_note_id"),
        scoped_key("price_versions", "price_id", "price_version", to=("price_id", "version")),
        scoped_key("meter_versions", "meter_id", "meter_version", to=("meter_id", "version")),
        UniqueConstraint("tenant_id", "environment_id", "line_id", "sequence", name="uq_line_adjustments_sequence"),
        one_of("cause", "late_events", "rerate"),
        one_of("treatment", "next_invoice", "credit_note", "separate_invoice"),
        Index("ix_line_adjustments_newest", "tenant_id", "environment_id", "created_at", "id"),
        Index("ix_line_adjustments_subscription", "tenant_id", "environment_id", "subscription_id"),
        Index("ix_line_adjustments_invoice", "tenant_id", "environment_id", "invoice_id"),
        Index("ix_line_adjustments_carried_by", "tenant_id", "environment_id", "carried_by"),
    )

    customer_id: Mapped[str]
    subscription_id: Mapped[str]
    invoice_id: Mapped[str]
    line_id: Mapped[str]
    sequence: Mapped[int]
    cause: Mapped[str]
    display_name: Mapped[str]
    period_start: Mapped[datetime]
    period_end: Mapped[datetime]
    price_id: Mapped[str]
    price_version: Mapped[int]
    meter_id: Mapped[str | None]
    meter_version: Mapped[int | None]
    quantity_before: Mapped[Decimal]
    quantity: Mapped[Decimal]
    billed: Mapped[Decimal]
    due: Mapped[Decimal]
    seen_before: Mapped[datetime | None]
    watermark: Mapped[datetime | None]
    quantity_hash: Mapped[str | None]
    events: Mapped[int]
    treatment: Mapped[str | None]
    held_because: Mapped[str | None]
    person: Mapped[str | None]
    reason: Mapped[str | None]
    carried_by: Mapped[str | None]
    credit_note_id: Mapped[str | None]
    created_at: Mapped[datetime]


class LateLook(Scoped, Base):
    """Events received up to `watermark` have been looked at for every invoice that was final at `looked_at`."""

    __tablename__ = "late_looks"
    __table_args__ = (in_environment(),)

    watermark: Mapped[datetime]
    looked_at: Mapped[datetime]
