"""Invoices as their readers see them: every line explains itself."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field

from api.schemas.common import (
    CollectionMethod,
    CurrencyIn,
    CustomerRef,
    DecimalIn,
    DecimalOut,
    Instant,
    Metadata,
    Model,
    Name,
    Slug,
    TaxRateIds,
    any_case,
)
from api.schemas.coupons import AppliedDiscountOut
from api.schemas.paging import Paging
from api.schemas.prices import BreakdownOut
from api.schemas.tax_rates import AppliedTaxOut
from billing.errors import Conflict, InvalidInput
from billing.exact import parse_decimal
from billing.invoice import BillingReason
from billing.one_off import OneOffItem
from ledger.store.invoice_lines import LineRecord
from ledger.store.invoice_record import InvoiceRecord
from pipelines.steps.one_off_invoice import NewOneOff
from pipelines.steps.sync_invoice import SyncResult

__all__ = [
    "InvoiceChangesIn",
    "InvoiceFilters",
    "InvoiceIn",
    "InvoiceOut",
    "InvoiceStatusName",
    "LineOut",
    "PaymentStatusName",
    "SyncedInvoiceOut",
    "VoidInvoiceIn",
]

InvoiceStatusName = Annotated[Literal["draft", "finalized", "void"], any_case()]
PaymentStatusName = Annotated[
    Literal["pending", "processing", "paid", "failed", "partially_paid", "refunded"], any_case(succeeded="paid")
]


_FIRST_DAY, _LAST_DAY = date(1970, 1, 1), date(9998, 12, 31)
BillingDay = Annotated[date, Field(ge=_FIRST_DAY, le=_LAST_DAY)]


class InvoiceLineIn(Model):
    """Either `unit_price` or `amount`. An `amount` may be below zero; then it is taken off the other lines."""

    display_name: Name
    quantity: DecimalIn = Decimal(1)
    unit_price: DecimalIn | None = Field(default=None, description="Times the quantity, rounded once.")
    amount: DecimalIn | None = Field(default=None, description="What the line comes to, whatever its quantity.")

    def item(self, at: str) -> OneOffItem:
        """The line with its numbers inside their bounds; InvalidInput with the field below `at`."""
        return OneOffItem(
            self.display_name,
            parse_decimal(self.quantity, f"{at}.quantity"),
            None if self.unit_price is None else parse_decimal(self.unit_price, f"{at}.unit_price"),
            None if self.amount is None else parse_decimal(self.amount, f"{at}.amount"),
        )


class InvoiceIn(Model):
    """An invoice that is made by hand."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "customer_id": "acme_corp_001",
                    "currency": "USD",
                    "lines": [
                        {"display_name": "Onboarding", "amount": "500.00"},
                        {"display_name": "Consulting, hours", "quantity": "7.5", "unit_price": "133.33"},
                    ],
                    "period_start": "2025-12-01T00:00:00Z",
                    "period_end": "2025-12-13T00:00:00Z",
                    "collection_method": "charge_automatically",
                    "metadata": {"purchase_order": "PO-7731"},
                }
            ]
        }
    )

    customer_id: CustomerRef
    lines: list[InvoiceLineIn] = Field(min_length=1, max_length=1000)
    currency: CurrencyIn | None = Field(default=None, description="The customer's when left out.")
    period_start: Instant | None = Field(
        default=None, description="When the service was given; the UTC day of the request when both are left out."
    )
    period_end: Instant | None = None
    collection_method: CollectionMethod = "charge_automatically"
    metadata: Metadata = Field(default_factory=dict)
    tax_rate_ids: TaxRateIds | None = Field(default=None, description="The customer's when left out; [] for none.")

    def new_invoice(self) -> NewOneOff:
        return NewOneOff(
            customer_id=self.customer_id,
            items=[line.item(f"lines[{number}]") for number, line in enumerate(self.lines)],
            currency=self.currency,
            period_start=self.period_start,
            period_end=self.period_end,
            collection_method=self.collection_method,
            metadata=self.metadata,
            tax_rate_ids=self.tax_rate_ids,
        )


class InvoiceChangesIn(Model):
    model_config = ConfigDict(json_schema_extra={"examples": [{"tax_rate_ids": []}]})

    tax_rate_ids: TaxRateIds | None = Field(description="For this invoice alone; [] for none, null for the customer's.")


class VoidInvoiceIn(Model):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "Ordered twice, see ticket 4711"}]})

    reason: Annotated[Name, Field(max_length=500, description="Kept on the invoice and in the audit log.")]


class LineDiscountOut(Model):
    discount_id: str
    amount: DecimalOut


class LineTaxOut(Model):
    tax_rate_id: str
    amount: DecimalOut


class LineOut(Model):
    id: str
    display_name: str
    price_type: Literal["fixed", "usage", "one_off", "adjustment"]
    amount: DecimalOut
    discount: DecimalOut = Field(description="The line's part of the invoice's discounts.")
    tax: DecimalOut = Field(description="The line's part of the invoice's taxes.")
    discounts: list[LineDiscountOut] = Field(description="The same, discount by discount.")
    taxes: list[LineTaxOut] = Field(description="The same, rate by rate.")
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
            discount=line.discount,
            tax=line.tax,
            discounts=[LineDiscountOut(discount_id=share.id, amount=share.amount) for share in line.discounts],
            taxes=[LineTaxOut(tax_rate_id=share.id, amount=share.amount) for share in line.taxes],
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


class AppliedCreditOut(Model):
    grant_id: str
    amount: DecimalOut


class InvoiceOut(Model):
    id: str
    customer_id: str
    subscription_id: str | None
    billing_reason: BillingReason = Field(
        description="`subscription_start` bills the first period in advance, `subscription_cycle` a period at its end; "
        "`adjustment` bills what earlier invoices have come to since, where that is not on the next one."
    )
    invoice_number: str | None
    invoice_status: str
    payment_status: str
    currency: str
    subtotal: DecimalOut = Field(description="The sum of the lines.")
    discount_total: DecimalOut
    tax_total: DecimalOut = Field(description="All taxes; inclusive ones are in the subtotal already.")
    total: DecimalOut
    credits_applied: DecimalOut = Field(description="What the customer's credit paid when it was finalized.")
    credits: list[AppliedCreditOut] = Field(description="The same, grant by grant.")
    credits_forecast: DecimalOut | None = Field(
        description="What credit would pay if this draft were final now; it may change. Null once it is."
    )
    amount_due: DecimalOut
    amount_paid: DecimalOut
    amount_credited: DecimalOut = Field(description="What credit notes took back, taxes included.")
    amount_remaining: DecimalOut = Field(description="What is still to be paid.")
    discounts: list[AppliedDiscountOut]
    taxes: list[AppliedTaxOut]
    collection_method: str
    line_items: list[LineOut]
    invoice_pdf_url: str | None
    metadata: dict[str, str]
    period_start: Instant
    period_end: Instant
    finalized_at: Instant | None
    paid_at: Instant | None
    voided_at: Instant | None
    void_reason: str | None
    payment_details: dict[str, Any] | None
    watermark: Instant | None
    inputs_hash: str | None
    code_version: str | None
    created_at: Instant

    @classmethod
    def of(cls, record: InvoiceRecord, credits_forecast: Decimal | None = None) -> Self:
        hosted = record.stripe_hosted_invoice_url
        return cls(
            id=record.id,
            customer_id=record.customer_id,
            subscription_id=record.subscription_id,
            billing_reason=record.billing_reason,
            invoice_number=record.number,
            invoice_status=record.status,
            payment_status=record.payment_status,
            currency=record.currency.lower(),
            subtotal=record.subtotal,
            discount_total=record.discount_total,
            tax_total=record.tax_total,
            total=record.total,
            credits_applied=record.credits_applied,
            credits=[AppliedCreditOut(grant_id=each.grant_id, amount=each.amount) for each in record.credits],
            credits_forecast=credits_forecast,
            amount_due=record.amount_due,
            amount_paid=record.amount_paid,
            amount_credited=record.amount_credited,
            amount_remaining=record.amount_remaining,
            discounts=[AppliedDiscountOut.of(discount) for discount in record.discounts],
            taxes=[AppliedTaxOut.of(tax) for tax in record.taxes],
            collection_method=record.collection_method,
            line_items=[LineOut.of(line) for line in record.lines],
            invoice_pdf_url=record.invoice_pdf_url,
            metadata={**record.metadata, **({"stripe_hosted_invoice_url": hosted} if hosted else {})},
            period_start=record.period.start,
            period_end=record.period.end,
            finalized_at=record.finalized_at,
            paid_at=record.paid_at,
            voided_at=record.voided_at,
            void_reason=record.void_reason,
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
    billed_from: BillingDay | None = Field(
        default=None, description="First billing day: the UTC day in which an invoice's period ends."
    )
    billed_to: BillingDay | None = Field(default=None, description="Last billing day, inclusive.")

    @property
    def billed(self) -> tuple[datetime, datetime] | None:
        """The billing days as a half-open range; None where all are wanted. InvalidInput `range_is_empty`."""
        if self.billed_from is None and self.billed_to is None:
            return None
        first, last = self.billed_from or _FIRST_DAY, self.billed_to or _LAST_DAY
        if last < first:
            raise InvalidInput("range_is_empty", f"{last} lies before {first}", field="billed_to")
        return _midnight(first), _midnight(last) + timedelta(days=1)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


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
