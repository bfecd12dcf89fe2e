"""An invoice as it is read, with its lines and with what was taken off and added."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Self

from sqlalchemy import Row
from sqlalchemy.orm import Session

from billing.adjustments.adjust import Adjusted, AppliedDiscount, AppliedTax, DiscountTerms, InvoiceTerms, TaxTerms
from billing.adjustments.credit import Drawn, draw
from billing.exact import EXACT
from billing.invoice import BillingReason, InvoiceStatus, PaymentStatus
from billing.money import format_decimal, from_minor
from billing.period import Period
from billing.scope import Scope
from ledger.models import Invoice
from ledger.store.invoice_lines import LineRecord, lines_of, period_of


@dataclass(frozen=True, slots=True)
class InvoiceRecord:
    """Amounts are in `currency`; `inputs_hash`, `watermark` and `code_version` say what the lines come from.

    `tax_rate_ids` were set for this invoice alone, None where the customer's count. `amount_credited` is what credit
    notes took off, `pre_payment_credited` the part of it that nobody has to pay any more.
    """

    id: str
    customer_id: str
    subscription_id: str | None
    billing_reason: BillingReason
    number: str | None
    status: InvoiceStatus
    payment_status: PaymentStatus
    currency: str
    subtotal: Decimal
    discount_total: Decimal
    tax_total: Decimal
    total: Decimal
    credits_applied: Decimal
    amount_due: Decimal
    amount_paid: Decimal
    amount_credited: Decimal
    pre_payment_credited: Decimal
    tax_rate_ids: tuple[str, ...] | None
    discounts: tuple[AppliedDiscount, ...]
    taxes: tuple[AppliedTax, ...]
    credits: tuple[Drawn, ...]
    period: Period
    collection_method: str
    watermark: datetime | None
    inputs_hash: str | None
    code_version: str | None
    finalized_at: datetime | None
    paid_at: datetime | None
    voided_at: datetime | None
    void_reason: str | None
    payment_details: dict[str, Any] | None
    stripe_hosted_invoice_url: str | None
    invoice_pdf_url: str | None
    metadata: dict[str, str]
    lines: tuple[LineRecord, ...]
    created_at: datetime

    @property
    def billed_at(self) -> datetime:
        """When it is due to be made: at the start of its period for the first advance, else at the end."""
        return self.period.start if self.billing_reason is BillingReason.SUBSCRIPTION_START else self.period.end

    @property
    def own_lines(self) -> tuple[LineRecord, ...]:
        """The lines that bill its own period; those that adjust earlier invoices come after them."""
        return tuple(line for line in self.lines if not line.is_adjustment)

    @property
    def adjustment_lines(self) -> tuple[LineRecord, ...]:
        """The lines that adjust those of earlier invoices."""
        return tuple(line for line in self.lines if line.is_adjustment)

    @property
    def terms(self) -> InvoiceTerms:
        """The discounts and taxes that it was made with."""
        return InvoiceTerms(
            tuple(discount.terms for discount in self.discounts), tuple(tax.terms for tax in self.taxes)
        )

    @property
    def amount_to_collect(self) -> Decimal:
        """What is asked for in money: what is due less what credit notes took off it."""
        return max(self.amount_due - self.pre_payment_credited, from_minor(0, self.currency))

    @property
    def amount_remaining(self) -> Decimal:
        """What is still to be paid."""
        return max(self.amount_to_collect - self.amount_paid, from_minor(0, self.currency))

    def priced(
        self,
        adjusted: Adjusted,
        inputs_hash: str,
        watermark: datetime | None,
        code_version: str,
        lines: tuple[LineRecord, ...],
    ) -> Self:
        """A draft with these amounts, and these lines of `adjusted`; the other three say what they come from."""
        return replace(
            self,
            **_amounts(adjusted),
            discounts=adjusted.discounts,
            taxes=adjusted.taxes,
            inputs_hash=inputs_hash,
            watermark=watermark,
            code_version=code_version,
            lines=lines,
        )

    def adjusted(self, adjusted: Adjusted) -> Self:
        """The same invoice with these amounts, paid by the same grants; its lines keep their ids."""
        available = [(each.grant_id, each.available) for each in self.credits]
        drawn, applied = draw(adjusted.total, available, self.currency)
        lines = tuple(
            replace(line, discount=new.discount, tax=new.tax, discounts=new.discounts, taxes=new.taxes)
            for line, new in zip(self.lines, adjusted.lines, strict=True)
        )
        amounts = {**_amounts(adjusted), "amount_due": EXACT.subtract(adjusted.amount_due, applied)}
        return replace(
            self,
            lines=lines,
            **amounts,
            discounts=adjusted.discounts,
            taxes=adjusted.taxes,
            credits=drawn,
            credits_applied=applied,
        )


_REASONS = {each.value: each for each in BillingReason}
_STATUSES = {each.value: each for each in InvoiceStatus}
_PAYMENTS = {each.value: each for each in PaymentStatus}


def without_lines(row: Invoice | Row[Any]) -> InvoiceRecord:
    """The record of a row for whoever looks at its amounts only."""
    return _record(row, ())


def adjusted_columns(adjusted: InvoiceRecord) -> dict[str, Any]:
    """What a draft's row holds of its amounts and of what they were made with."""
    return {
        **_amounts(adjusted),
        "discounts": [
            {
                **_texts(vars(discount.terms)),
                "amount": format_decimal(discount.amount),
                "applies": discount.applies,
            }
            for discount in adjusted.discounts
        ],
        "taxes": [
            {
                **_texts(vars(tax.terms)),
                "taxable": format_decimal(tax.taxable),
                "amount": format_decimal(tax.amount),
            }
            for tax in adjusted.taxes
        ],
    }


def _amounts(adjusted: Adjusted | InvoiceRecord) -> dict[str, Any]:
    return {
        "subtotal": adjusted.subtotal,
        "discount_total": adjusted.discount_total,
        "tax_total": adjusted.tax_total,
        "total": adjusted.total,
        "amount_due": adjusted.amount_due,
    }


def _texts(values: dict[str, Any]) -> dict[str, Any]:
    return {name: format_decimal(value) if isinstance(value, Decimal) else value for name, value in values.items()}


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _discount(stored: dict[str, Any]) -> AppliedDiscount:
    terms = DiscountTerms(
        id=stored["id"],
        coupon_id=stored["coupon_id"],
        name=stored["name"],
        percent_off=_decimal(stored["percent_off"]),
        amount_off=_decimal(stored["amount_off"]),
        currency=stored["currency"],
    )
    return AppliedDiscount(terms, Decimal(stored["amount"]), stored["applies"])


def _tax(stored: dict[str, Any]) -> AppliedTax:
    terms = TaxTerms(stored["id"], stored["name"], Decimal(stored["percentage"]), stored["inclusive"])
    return AppliedTax(terms, Decimal(stored["taxable"]), Decimal(stored["amount"]))


def _drawn(stored: dict[str, str]) -> Drawn:
    return Drawn(stored["grant_id"], Decimal(stored["available"]), Decimal(stored["amount"]))


def with_lines(session: Session, scope: Scope, rows: Sequence[Invoice | Row[Any]]) -> list[InvoiceRecord]:
    """Records of rows of one scope, in the same order; the lines take one query."""
    lines = lines_of(session, scope, [row.id for row in rows])
    return [_record(row, lines[row.id]) for row in rows]


_STATED = ("billing_reason", "status", "payment_status", "tax_rate_ids", "discounts", "taxes", "credits", "metadata")
_PLAIN = [item.name for item in fields(InvoiceRecord) if item.name not in {*_STATED, "period", "lines"}]
_plain_values = attrgetter(*_PLAIN)


def _record(row: Invoice | Row[Any], lines: tuple[LineRecord, ...]) -> InvoiceRecord:
    return InvoiceRecord(
        **dict(zip(_PLAIN, _plain_values(row), strict=True)),
        billing_reason=_REASONS[row.billing_reason],
        status=_STATUSES[row.status],
        payment_status=_PAYMENTS[row.payment_status],
        tax_rate_ids=None if row.tax_rate_ids is None else tuple(row.tax_rate_ids),
        discounts=tuple(map(_discount, row.discounts)),
        taxes=tuple(map(_tax, row.taxes)),
        credits=tuple(map(_drawn, row.credits)),
        period=period_of(row.period_start, row.period_end),
        metadata=row.meta,
        lines=lines,
    )
