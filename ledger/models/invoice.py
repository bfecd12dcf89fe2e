"""Invoices, their lines, and the counters behind gapless numbers.

Triggers (see the migrations) refuse any change to the lines and amounts of an invoice that has left draft; what is paid
and credited of it moves on. `discounts`, `taxes` and `credits` are what it was made with, beside the amounts.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, and_, column, null, or_
from sqlalchemy.orm import Mapped, mapped_column

from ledger.models.base import Base, Entity, Scoped, in_environment, one_of, scoped_key


class Invoice(Entity, Base):
    __tablename__ = "invoices"
    __table_args__ = (
        in_environment(),
        scoped_key("customers", "customer_id"),
        scoped_key("subscriptions", "subscription_id"),
        UniqueConstraint(
            "tenant_id",
            "environment_id",
            "subscription_id",
            "period_start",
            "billing_reason",
            name="uq_invoices_subscription_period",
        ),
        UniqueConstraint("tenant_id", "environment_id", "number", name="uq_invoices_number"),
        one_of("status", "draft", "finalized", "void"),
        CheckConstraint(or_(column("status") != "finalized", column("number").is_not(null())), name="has_number"),
        one_of("payment_status", "pending", "processing", "paid", "failed", "partially_paid", "refunded"),
        one_of("collection_method", "charge_automatically", "send_invoice"),
        one_of("billing_reason", "subscription_start", "subscription_cycle", "manual", "adjustment"),
        Index("ix_invoices_newest", "tenant_id", "environment_id", "created_at", "id"),
        Index("ix_invoices_customer", "tenant_id", "environment_id", "customer_id", "created_at"),
        Index("ix_invoices_period_end", "period_end", "status"),
        Index("ix_invoices_starts", "billing_reason", "period_start"),
    )

    customer_id: Mapped[str]
    subscription_id: Mapped[str | None]
    billing_reason: Mapped[str]
    number: Mapped[str | None]
    status: Mapped[str]
    payment_status: Mapped[str]
    currency: Mapped[str]
    subtotal: Mapped[Decimal]
    discount_total: Mapped[Decimal] = mapped_column(server_default="0")
    tax_total: Mapped[Decimal] = mapped_column(server_default="0")
    total: Mapped[Decimal]
    credits_applied: Mapped[Decimal] = mapped_column(server_default="0")
    amount_due: Mapped[Decimal]
    amount_paid: Mapped[Decimal]
    amount_credited: Mapped[Decimal] = mapped_column(server_default="0")
    pre_payment_credited: Mapped[Decimal] = mapped_column(server_default="0")
    tax_rate_ids: Mapped[list[Any] | None]
    discounts: Mapped[list[Any]] = mapped_column(server_default="[]")
    taxes: Mapped[list[Any]] = mapped_column(server_default="[]")
    credits: Mapped[list[Any]] = mapped_column(server_default="[]")
    period_start: Mapped[datetime]
    period_end: Mapped[datetime]
    collection_method: Mapped[str]
    watermark: Mapped[datetime | None]
    inputs_hash: Mapped[str | None]
    code_version: Mapped[str | None]
    priced_at: Mapped[datetime | None]
    finalized_at: Mapped[datetime | None]
    paid_at: Mapped[datetime | None]
    voided_at: Mapped[datetime | None]
    void_reason: Mapped[str | None]
    payment_details: Mapped[dict[str, Any] | None]
    stripe_hosted_invoice_url: Mapped[str | None]
    invoice_pdf_url: Mapped[str | None]
    meta: Mapped[dict[str, str]]
    created_at: Mapped[datetime]


class InvoiceLine(Entity, Base):
    __tablename__ = "invoice_lines"
    __table_args__ = (
        scoped_key("invoices", "invoice_id"),
        scoped_key("price_versions", "price_id", "price_version", to=("price_id", "version")),
        scoped_key("meter_versions", "meter_id", "meter_version", to=("meter_id", "version")),
        UniqueConstraint("tenant_id", "environment_id", "invoice_id", "key", name="uq_invoice_lines_key"),
        one_of("price_type", "fixed", "usage", "one_off", "adjustment"),
        CheckConstraint(
            or_(
                column("price_type") == "one_off",
                and_(column("price_id").is_not(null()), column("price_version").is_not(null())),
            ),
            name="has_price",
        ),
    )

    invoice_id: Mapped[str]
    key: Mapped[str]
    position: Mapped[int]
    display_name: Mapped[str]
    price_type: Mapped[str]
    quantity: Mapped[Decimal]
    amount: Mapped[Decimal]
    unrounded: Mapped[Decimal]
    discount: Mapped[Decimal] = mapped_column(server_default="0")
    tax: Mapped[Decimal] = mapped_column(server_default="0")
    discounts: Mapped[list[Any]] = mapped_column(server_default="[]")
    taxes: Mapped[list[Any]] = mapped_column(server_default="[]")
    period_start: Mapped[datetime]
    period_end: Mapped[datetime]
    price_id: Mapped[str | None]
    price_version: Mapped[int | None]
    meter_id: Mapped[str | None]
    meter_version: Mapped[int | None]
    breakdown: Mapped[list[Any]]
    watermark: Mapped[datetime | None]
    quantity_hash: Mapped[str | None]


class InvoiceCounter(Scoped, Base):
    """The last number given in one environment and month (YYYYMM, UTC)."""

    __tablename__ = "invoice_counters"
    __table_args__ = (in_environment(),)

    month: Mapped[str] = mapped_column(primary_key=True)
    last_number: Mapped[int]
