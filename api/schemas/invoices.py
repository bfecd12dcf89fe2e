"""Invoices as their readers see them: every line explains itself."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from api.schemas.common import CustomerRef, DecimalOut, Instant, Model, Slug, any_case
from api.schemas.paging import Paging
from api.schemas.prices import BreakdownOut
from billing.errors import Conflict
from ledger.store.invoice_lines import LineRecord
from ledger.store.invoice_record import InvoiceRecord
from pipelines.steps.sync_invoice import SyncResult

__all__ = ["InvoiceFilters", "InvoiceOut", "InvoiceStatusName", "LineOut", "PaymentStatusName", "SyncedInvoiceOut"]

InvoiceStatusName = Annotated[Literal["draft", "finalized", "void"], any_case()]
PaymentStatusName = Annotated[
    Literal["pending", "processing", "paid", "failed", "partially_paid", "refunded"], any_case(succeeded="paid")
]


class LineOut(Model):
    id: str
    display_name: str
    price_type: Literal["fixed", "usage"]
    amount: DecimalOut
    quantity: DecimalOut
    period_start: Instant
    period_end: Instant
    price_id: str | None
    price_version: int | None
    meter_id: str | None
    meter_version: int | None
    unrounded: DecimalOut
    breakdown: list[BreakdownOut]
    watermark: Instant | None = Field(description="Events stored up to here are in the quantity.")
    quantity_hash: str | None

    @classmethod
    def of(cls, line: LineRecord) -> Self:
        return cls(
            id=line.id,
            display_name=line.display_name,
            price_type=line.price_type,
            amount=line.amount,
            quantity=line.quantity,
            period_start=line.period.start,
            period_end=line.period.end,
            price_id=line.price_id,
            price_version=line.price_version,
            meter_id=line.meter_id,
            meter_version=line.meter_version,
            unrounded=line.unrounded,
            breakdown=[BreakdownOut.model_validate(use, from_attributes=True) for use in line.breakdown],
            watermark=line.watermark,
            quantity_hash=line.quantity_hash,
        )


class InvoiceOut(Model):
    id: str
    customer_id: str
    subscription_id: str | None
    invoice_number: str | None
    invoice_status: str
    payment_status: str
    currency: str
    subtotal: DecimalOut
    total: DecimalOut
    amount_due: DecimalOut
    amount_paid: DecimalOut
    collection_method: str
    line_items: list[LineOut]
    invoice_pdf_url: str | None
    metadata: dict[str, str]
    period_start: Instant
    period_end: Instant
    finalized_at: Instant | None
    paid_at: Instant | None
    payment_details: dict[str, Any] | None
    watermark: Instant | None
    inputs_hash: str | None
    code_version: str | None
    created_at: Instant

    @classmethod
    def of(cls, record: InvoiceRecord) -> Self:
        hosted = record.stripe_hosted_invoice_url
        return cls(
            id=record.id,
            customer_id=record.customer_id,
            subscription_id=record.subscription_id,
            invoice_number=record.number,
            invoice_status=record.status,
            payment_status=record.payment_status,
            currency=record.currency.lower(),
            subtotal=record.subtotal,
            total=record.total,
            amount_due=record.amount_due,
            amount_paid=record.amount_paid,
            collection_method=record.collection_method,
            line_items=[LineOut.of(line) for line in record.lines],
            invoice_pdf_url=record.invoice_pdf_url,
            metadata={**record.metadata, **({"stripe_hosted_invoice_url": hosted} if hosted else {})},
            period_start=record.period.start,
            period_end=record.period.end,
            finalized_at=record.finalized_at,
            paid_at=record.paid_at,
            payment_details=record.payment_details,
            watermark=record.watermark,
            inputs_hash=record.inputs_hash,
            code_version=record.code_version,
            created_at=record.created_at,
        )


class InvoiceFilters(Paging):
    customer_id: CustomerRef | None = None
    subscription_id: Slug | None = None
    invoice_status: InvoiceStatusName | None = None
    payment_status: PaymentStatusName | None = None


class SyncedInvoiceOut(Model):
    """The invoice as it stands at Stripe."""

    stripe_invoice_id: str
    status: str
    payment_intent_id: str | None
    hosted_invoice_url: str | None
    invoice_pdf: str | None

    @classmethod
    def of(cls, result: SyncResult) -> Self:
        """Conflict with the result's reason where the invoice is not at Stripe."""
        if result.stripe_invoice_id is None or result.outcome in {"refused", "failed"}:
            reason = result.reason or "invoice_sync_failed"
            code, _, more = reason.partition(":")
            said = "; ".join(filter(None, (more.strip(), result.detail)))
            plain = code.replace("_", " ")
            raise Conflict(
                code,
                f"Stripe did not get this invoice: {plain}" + (f" ({said})." if said else "."),
                hint=_WAYS_OUT.get(code, "Correct the cause and sync again; nothing was sent twice."),
            )
        return cls(
            stripe_invoice_id=result.stripe_invoice_id,
            status=result.status or "draft",
            payment_intent_id=result.payment_intent_id,
            hosted_invoice_url=result.hosted_invoice_url,
            invoice_pdf=result.invoice_pdf,
        )


_WAYS_OUT = {
    "no_connection": "Create a connection with POST /api/v1/connections.",
    "connection_inactive": "Enable the connection with PATCH /api/v1/connections/{connection_id}.",
    "invoice_sync_disabled": "Set sync_config.invoice.outbound of the connection to true.",
    "invoice_not_finalized": "Wait for its period to end; finalizing follows by itself.",
    "invoice_void": "A void invoice is not collected.",
    "below_minimum": "Stripe does not charge amounts this small; collect it another way.",
    "above_maximum": "Stripe does not charge amounts this large; collect it another way.",
}
