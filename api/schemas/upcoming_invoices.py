"""What a running period comes to so far, and the periods of a subscription with what became of them."""

from typing import Annotated, Literal, Self

from pydantic import Field

from api.schemas.common import DecimalOut, Instant, Model, any_case
from api.schemas.coupons import AppliedDiscountOut
from api.schemas.invoices import LineOut
from api.schemas.paging import Paging
from api.schemas.tax_rates import AppliedTaxOut
from api.schemas.usage import ServedBy
from billing.invoice import BillingReason
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps.list_periods import PeriodStatus, SubscriptionPeriod
from pipelines.steps.upcoming_invoice import MeterReading, UpcomingInvoice

__all__ = ["PeriodsPage", "SubscriptionPeriodOut", "UpcomingInvoiceOut"]


class MeterReadingOut(Model):
    meter_id: str
    meter_version: int
    events: int = Field(description="Events that are counted in this period so far.")
    unusable: int = Field(description="Events that fit the meter but have no value that it could read.")
    served_by: ServedBy

    @classmethod
    def of(cls, reading: MeterReading) -> Self:
        return cls(
            meter_id=reading.meter_id,
            meter_version=reading.meter_version,
            events=reading.events,
            unusable=reading.unusable,
            served_by=ServedBy(rollup_days=reading.rollup_days, raw_days=reading.raw_days),
        )


class UpcomingInvoiceOut(Model):
    """An invoice that is not there yet, in the words of one that is. Nothing was written."""

    customer_id: str
    subscription_id: str
    billing_reason: BillingReason = Field(description="`subscription_start`: it has not begun, and bills in advance.")
    currency: str
    subtotal: DecimalOut
    discount_total: DecimalOut
    tax_total: DecimalOut
    total: DecimalOut
    credits_forecast: DecimalOut = Field(description="What credit would pay if it were final now; it may change.")
    amount_due: DecimalOut
    discounts: list[AppliedDiscountOut]
    taxes: list[AppliedTaxOut]
    collection_method: str
    line_items: list[LineOut] = Field(description="The `id` of each is only a name: the same in every answer.")
    period_start: Instant
    period_end: Instant
    as_of: Instant = Field(description="Everything acknowledged before is counted.")
    watermark: Instant = Field(description="Of what was received up to here, nothing more can appear.")
    usage: list[MeterReadingOut] = Field(description="What the metered lines were read from.")

    @classmethod
    def of(cls, upcoming: UpcomingInvoice) -> Self:
        subscription = upcoming.due.subscription
        return cls(
            customer_id=subscription.customer_id,
            subscription_id=subscription.id,
            billing_reason=upcoming.due.reason,
            currency=subscription.currency.lower(),
            subtotal=upcoming.adjusted.subtotal,
            discount_total=upcoming.adjusted.discount_total,
            tax_total=upcoming.adjusted.tax_total,
            total=upcoming.total,
            credits_forecast=upcoming.credits_forecast,
            amount_due=upcoming.amount_due,
            discounts=[AppliedDiscountOut.of(discount) for discount in upcoming.adjusted.discounts],
            taxes=[AppliedTaxOut.of(tax) for tax in upcoming.adjusted.taxes],
            collection_method=subscription.collection_method,
            line_items=[LineOut.of(line) for line in upcoming.lines],
            period_start=upcoming.due.period.start,
            period_end=upcoming.due.period.end,
            as_of=upcoming.as_of,
            watermark=upcoming.watermark,
            usage=[MeterReadingOut.of(reading) for reading in upcoming.readings],
        )


class SubscriptionPeriodOut(Model):
    period_start: Instant
    period_end: Instant
    status: PeriodStatus = Field(description="`closing`: it has ended, and its invoice is not final yet.")
    invoice_id: str | None = Field(description="Null until there is a draft.")
    invoice_number: str | None
    total: DecimalOut | None = Field(description="Null until the invoice has been priced.")
    currency: str

    @classmethod
    def of(cls, found: SubscriptionPeriod, subscription: SubscriptionRecord) -> Self:
        invoice = found.invoice
        return cls(
            period_start=found.period.start,
            period_end=found.period.end,
            status=found.status,
            invoice_id=None if invoice is None else invoice.id,
            invoice_number=None if invoice is None else invoice.number,
            total=None if invoice is None else invoice.total,
            currency=subscription.currency.lower(),
        )


class PeriodsPage(Paging):
    order: Annotated[Literal["newest", "oldest"], any_case(desc="newest", asc="oldest")] = "newest"
