"""What an invoice shows, as texts: the one place that decides it for HTML and PDF alike. No markup in here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from billing.exact import canonical
from billing.invoice import InvoiceStatus, PaymentStatus
from billing.money import round_amount
from billing.period import Period
from billing.rating import TierUse
from ledger.store.customers import CustomerRecord
from ledger.store.invoice_lines import LineRecord
from ledger.store.invoice_record import InvoiceRecord

__all__ = ["InvoiceView", "LineView", "view_of"]

_TICK: Final = timedelta(microseconds=1)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_STATES: Final = {
    PaymentStatus.PENDING: "Open",
    PaymentStatus.PROCESSING: "Payment on its way",
    PaymentStatus.FAILED: "Open, the last payment failed",
    PaymentStatus.PARTIALLY_PAID: "Partly paid",
    PaymentStatus.PAID: "Paid",
    PaymentStatus.REFUNDED: "Refunded",
}
# Keys of a customer's metadata that belong on the document.
_ADDRESS: Final = "billing_address"
_TAX_ID: Final = "tax_id"


@dataclass(frozen=True)
class StepView:
    """One tier of a line, or what was changed after it was priced."""

    label: str
    amount: str


@dataclass(frozen=True)
class LineView:
    """`unit_price` is empty where several tiers, or none, make the amount; `steps` say how."""

    name: str
    period: str
    quantity: str
    unit_price: str
    amount: str
    steps: tuple[StepView, ...]


@dataclass(frozen=True)
class InvoiceView:
    """Texts only. `facts` and `totals` are label and value, in order; the last total is the one that counts."""

    title: str
    number: str
    state: str
    is_test: bool
    seller: str
    buyer: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    currency: str
    lines: tuple[LineView, ...]
    totals: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    pay_url: str | None


def view_of(invoice: InvoiceRecord, customer: CustomerRecord, seller: str, *, is_test: bool) -> InvoiceView:
    """The invoice as it stands; the same invoice in the same state gives the same view."""
    draft, void = invoice.status == InvoiceStatus.DRAFT, invoice.status == InvoiceStatus.VOID
    state = "Draft" if draft else "Void" if void else _STATES[invoice.payment_status]
    outstanding = invoice.amount_remaining
    collectable = invoice.status == InvoiceStatus.FINALIZED and outstanding > 0
    return InvoiceView(
        title="Draft invoice" if draft else "Invoice",
        number=invoice.number or "",
        state=state,
        is_test=is_test,
        seller=seller,
        buyer=tuple(_buyer(customer)),
        facts=tuple(_facts(invoice, state)),
        currency=invoice.currency,
        lines=tuple(_line(line, invoice.currency) for line in invoice.lines),
        totals=tuple(_totals(invoice, outstanding, void=void)),
        notes=tuple(_notes(invoice)),
        pay_url=invoice.stripe_hosted_invoice_url if collectable else None,
    )


def _buyer(customer: CustomerRecord) -> Iterator[str]:
    yield customer.name
    for line in customer.metadata.get(_ADDRESS, "").splitlines():
        if line.strip():
            yield line.strip()
    if customer.email is not None:
        yield customer.email
    if _TAX_ID in customer.metadata:
        yield f"Tax ID {customer.metadata[_TAX_ID]}"
    yield f"Customer {customer.external_id}"


def _facts(invoice: InvoiceRecord, state: str) -> Iterator[tuple[str, str]]:
    if invoice.number is not None:
        yield "Invoice number", invoice.number
    if invoice.finalized_at is not None:
        yield "Issued", _day(invoice.finalized_at)
    yield "Period", _span(invoice.period)
    yield "Currency", invoice.currency
    yield "Status", state
    if invoice.paid_at is not None and invoice.status != InvoiceStatus.VOID:
        yield "Paid on", _day(invoice.paid_at)
    if invoice.voided_at is not None:
        yield "Void since", _day(invoice.voided_at)
    if "purchase_order" in invoice.metadata:
        yield "Purchase order", invoice.metadata["purchase_order"]


def _line(line: LineRecord, currency: str) -> LineView:
    uses = line.breakdown
    single = uses[0] if len(uses) == 1 and uses[0].up_to is None else None
    unit_price = ""
    if single is not None and not (single.unit_price and single.flat_fee):
        unit_price = _price(single.unit_price or single.flat_fee, currency)
    steps = [] if unit_price else list(_tiers(uses, currency))
    if single is not None and unit_price and single.unit_price and single.quantity != line.quantity:
        billed = f"billed: {_number(single.quantity)} × {unit_price}"
        steps.append(StepView(billed, _price(single.amount, currency)))
    if line.is_adjustment:
        said = ("comes to", "billed before")
        steps = [StepView(what, _money(use.amount)) for what, use in zip(said, uses, strict=True)]
    rounded = round_amount(line.unrounded, currency)
    if line.amount != rounded:
        steps.append(StepView("before discount, maximum and minimum", _money(rounded)))
    return LineView(
        name=line.display_name,
        period=_span(line.period),
        quantity=_number(line.quantity),
        unit_price=unit_price,
        amount=_money(line.amount),
        steps=tuple(steps),
    )


def _tiers(uses: Sequence[TierUse], currency: str) -> Iterator[StepView]:
    lower: Decimal | None = None
    for use in uses:
        where = "" if lower is None else f"above {_number(lower)}: "
        if use.up_to is not None:
            where = f"up to {_number(use.up_to)}: "
        parts = []
        if use.unit_price or not use.flat_fee:
            parts.append(f"{_number(use.quantity)} × {_price(use.unit_price, currency)}")
        if use.flat_fee:
            parts.append(f"{_price(use.flat_fee, currency)} fee")
        yield StepView(where + " + ".join(parts), _price(use.amount, currency))
        lower = use.up_to


def _totals(invoice: InvoiceRecord, outstanding: Decimal, *, void: bool) -> Iterator[tuple[str, str]]:
    if invoice.subtotal != invoice.total or invoice.taxes or invoice.discounts:
        yield "Subtotal", _money(invoice.subtotal)
    for discount in invoice.discounts:
        if discount.amount != 0:
            off = discount.terms.percent_off
            yield discount.terms.name + ("" if off is None else f" ({_number(off)} %)"), _money(-discount.amount)
    for tax in invoice.taxes:
        held = " included" if tax.terms.inclusive else ""
        yield f"{tax.terms.name} {_number(tax.terms.percentage)} %{held}, of {_money(tax.taxable)}", _money(tax.amount)
    yield "Total", _money(invoice.total)
    if invoice.credits_applied > 0:
        yield "Credit applied", _money(-invoice.credits_applied)
    if invoice.pre_payment_credited > 0:
        yield "Credit notes", _money(-invoice.pre_payment_credited)
    if invoice.amount_paid > 0:
        yield "Paid", _money(-invoice.amount_paid)
    if void:
        yield "Nothing is due", _money(round_amount(Decimal(0), invoice.currency))
    else:
        yield "Amount due", _money(max(outstanding, round_amount(Decimal(0), invoice.currency)))


def _notes(invoice: InvoiceRecord) -> Iterator[str]:
    if invoice.status == InvoiceStatus.DRAFT:
        yield "This is a draft. It may still change and asks for no payment."
    if invoice.status == InvoiceStatus.VOID:
        yield "This invoice is void and is not to be paid." + (
            f" Reason: {invoice.void_reason}" if invoice.void_reason else ""
        )
    details = invoice.payment_details or {}
    if invoice.payment_status == PaymentStatus.PAID and details.get("last4"):
        yield f"Paid by {details.get('brand') or 'card'} ending in {details['last4']}."


def _money(amount: Decimal) -> str:
    """With all decimals of its currency, thousands apart."""
    return f"{amount:,f}".replace("-", "−")


def _price(amount: Decimal, currency: str) -> str:
    """With all digits that it has, and at least the decimals of its currency."""
    rounded = round_amount(amount, currency)
    return _money(rounded) if rounded == amount else _number(amount)


def _number(number: Decimal) -> str:
    return _money(Decimal(canonical(number)))


def _span(period: Period) -> str:
    """The first and the last day, in UTC: a period's end is the first moment that is no part of it."""
    first, last = _day(period.start), _day(period.end - _TICK)
    return first if first == last else f"{first} – {last}"


def _day(moment: datetime) -> str:
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"
