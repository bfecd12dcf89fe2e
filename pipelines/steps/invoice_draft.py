"""What a finalized invoice has to look like at the provider, and whether a draft over there does. Pure.

There are two forms, and the total of both is what is due when the invoice is finalized. In the native one discounts are
the provider's discounts and taxes its taxes, so that its document and its tax report show them as what they are; every
amount of them is ours, nothing is left to the provider's rounding. In the plain one, for what the native one cannot
say, discounts are in the lines and each tax on top is a line. What credit pays is a line in both: the provider knows
credit as a balance of the customer, which any other invoice may use up first.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final, Literal

from billing.adjustments.adjust import AppliedTax, TaxTerms
from billing.adjustments.split import added
from billing.exact import EXACT
from billing.invoice import content_hash
from billing.money import format_decimal
from billing.period import Period
from billing.ports import (
    OUR_INVOICE,
    LineTax,
    NewCoupon,
    NewInvoice,
    NewInvoiceLine,
    ProviderInvoice,
    ProviderInvoiceLine,
    TaxRate,
)
from billing.scope import Scope
from ledger.store.invoices import InvoiceRecord, LineRecord

__all__ = [
    "LINES_PER_CALL",
    "MOST_LINES",
    "Form",
    "batches",
    "coupons_of",
    "difference",
    "form_of",
    "lines_of",
    "natural_form",
    "new_invoice",
    "rate_of",
    "request_of",
]

Form = Literal["native", "plain"]

# Stripe takes 250 items an invoice; the lines beyond are summed into one, ours keeps them all.
MOST_LINES = 240
LINES_PER_CALL = 100
# What Stripe takes of taxes on a line, of discounts on an invoice, and of decimals and letters in a rate and a coupon.
_MOST_TAXES: Final = 10
_MOST_DISCOUNTS: Final = 20
_MOST_DECIMALS: Final = 4
_LONGEST_RATE: Final = 50
_LONGEST_COUPON: Final = 40


def request_of(
    scope: Scope, invoice: InvoiceRecord, customer_id: str, days_until_due: int, form: Form
) -> dict[str, Any]:
    """The draft to ask for, as it is kept in the mapping; `customer_id` is the provider's."""
    sends = invoice.collection_method == "send_invoice"
    lines = [
        (line.line_id, line.amount, *((each.rate.name, each.amount) for each in line.taxes))
        for line in lines_of(invoice, form)
    ]
    coupon_ids = [coupon.id for coupon in coupons_of(invoice, form)]
    return {
        "form": form,
        "customer_id": customer_id,
        "currency": invoice.currency,
        "collection_method": invoice.collection_method,
        "days_until_due": days_until_due if sends else None,
        "number": invoice.number,
        "coupon_ids": coupon_ids,
        "metadata": {
            OUR_INVOICE: invoice.id,
            "tenant": scope.tenant_id,
            "environment": scope.environment_id,
            "content_hash": content_hash([lines, coupon_ids]),
        },
    }


def new_invoice(request: dict[str, Any]) -> NewInvoice:
    return NewInvoice(**{name: value for name, value in request.items() if name != "form"})


def form_of(request: dict[str, Any]) -> Form:
    """The form that was asked for; what was asked for before there were two was plain."""
    return "native" if request.get("form") == "native" else "plain"


def natural_form(invoice: InvoiceRecord) -> Form:
    """Native unless its bounds are in the way."""
    discounts = [discount for discount in invoice.discounts if discount.amount != 0]
    counted = [line.amount for line in _billed(invoice, "native") if line.discountable]
    fits = (
        len(invoice.taxes) <= _MOST_TAXES
        and all(_decimals(tax.terms.percentage) <= _MOST_DECIMALS for tax in invoice.taxes)
        and len(discounts) <= _MOST_DISCOUNTS
        and all(discount.amount > 0 for discount in discounts)
        and _sum(invoice, counted) >= _sum(invoice, [discount.amount for discount in discounts])
    )
    return "native" if fits else "plain"


def coupons_of(invoice: InvoiceRecord, form: Form) -> list[NewCoupon]:
    """An amount off for each discount. The id says currency, amount and name, so discounts that are equal share one."""
    if form == "plain":
        return []
    found = []
    for discount in invoice.discounts:
        if discount.amount == 0:
            continue
        name = discount.terms.name[:_LONGEST_COUPON]
        amount = format_decimal(discount.amount)
        digest = sha256(name.encode()).hexdigest()[:16]
        coupon_id = f"tallyhouse-{invoice.currency.lower()}-{amount.replace('.', '_')}-{digest}"
        found.append(NewCoupon(coupon_id, name, invoice.currency, discount.amount))
    return found


def rate_of(terms: TaxTerms) -> TaxRate:
    """A rate as the provider names it."""
    return TaxRate(terms.name[:_LONGEST_RATE], terms.percentage, terms.inclusive)


def lines_of(invoice: InvoiceRecord, form: Form) -> list[NewInvoiceLine]:
    """The lines to send, at most 240 and what else the form takes; each says its quantity, since a line with an amount
    of its own takes none. With discounts and taxes they come to what is due when the invoice is finalized: credit notes
    follow it.

    What credits pay is one line more, and so is what becomes credit because the total is below zero.
    """
    lines = _billed(invoice, form)
    if form == "plain":
        lines += [_tax_line(invoice, tax) for tax in invoice.taxes if not tax.terms.inclusive and tax.amount != 0]
    settled = EXACT.subtract(invoice.amount_due, _total(invoice, lines, form))
    if settled != 0:
        name = "Credit applied" if settled < 0 else "Kept as credit"
        lines.append(NewInvoiceLine(f"{invoice.id}:credit", name, settled, invoice.period))
    return lines


def _billed(invoice: InvoiceRecord, form: Form) -> list[NewInvoiceLine]:
    """The invoice's own lines, those beyond the most in one."""
    kept = invoice.lines if len(invoice.lines) <= MOST_LINES else invoice.lines[: MOST_LINES - 1]
    rest = invoice.lines[len(kept) :]
    write = _native if form == "native" else _plain
    lines = [write(invoice, line.id, _described(line), [line]) for line in kept]
    if rest:
        lines.append(write(invoice, f"{invoice.id}:rest", f"{len(rest)} more lines", rest))
    return lines


def batches(lines: Sequence[NewInvoiceLine]) -> Iterator[tuple[int, Sequence[NewInvoiceLine]]]:
    """Numbered calls' worth of lines, the same ones each time."""
    for number, start in enumerate(range(0, len(lines), LINES_PER_CALL)):
        yield number, lines[start : start + LINES_PER_CALL]


def difference(
    invoice: InvoiceRecord,
    request: dict[str, Any],
    seen: ProviderInvoice,
    seen_lines: Sequence[ProviderInvoiceLine],
) -> str | None:
    """Why the provider's invoice must not be finalized: how it differs from ours, or None (promise S2)."""
    if seen.currency != invoice.currency.upper():
        return f"currency_differs: {seen.currency} there, {invoice.currency} here"
    if seen.customer_id != request["customer_id"]:
        return f"customer_differs: {seen.customer_id} there, {request['customer_id']} here"
    lines = lines_of(invoice, form_of(request))
    asked, before = invoice.amount_due, added((line.amount for line in lines), invoice.currency)
    if seen.total != asked:
        return f"total_differs: {format_decimal(seen.total)} there, {format_decimal(asked)} here"
    if seen.subtotal != before:
        return f"total_differs: {format_decimal(seen.subtotal)} before discounts there, {format_decimal(before)} here"
    wanted = sorted((line.line_id, line.amount, sorted(each.amount for each in line.taxes)) for line in lines)
    there = sorted((line.line_id or "", line.amount, sorted(each.amount for each in line.taxes)) for line in seen_lines)
    if wanted != there:
        return f"lines_differ: {len(there)} there, {len(wanted)} here, or other amounts"
    return None


def _native(invoice: InvoiceRecord, line_id: str, description: str, lines: Sequence[LineRecord]) -> NewInvoiceLine:
    amount, off = _sum(invoice, [line.amount for line in lines]), _sum(invoice, [line.discount for line in lines])
    shares = {tax.terms.id: _sum(invoice, [_share(line, tax) for line in lines]) for tax in invoice.taxes}
    included = _sum(invoice, [shares[tax.terms.id] for tax in invoice.taxes if tax.terms.inclusive])
    taxable = EXACT.subtract(EXACT.subtract(amount, off), included)
    # A rate of nothing is told as well: what is zero-rated is not what is untaxed.
    taxes = tuple(LineTax(rate_of(tax.terms), shares[tax.terms.id], taxable) for tax in invoice.taxes)
    # A discount counts on what is above zero only, at the provider.
    return NewInvoiceLine(line_id, description, amount, _period(invoice, lines), taxes, off > 0 and amount > 0)


def _plain(invoice: InvoiceRecord, line_id: str, description: str, lines: Sequence[LineRecord]) -> NewInvoiceLine:
    amount = _sum(invoice, [EXACT.subtract(line.amount, line.discount) for line in lines])
    return NewInvoiceLine(line_id, description, amount, _period(invoice, lines))


def _tax_line(invoice: InvoiceRecord, tax: AppliedTax) -> NewInvoiceLine:
    name = f"{tax.terms.name} {format_decimal(tax.terms.percentage)}%"
    return NewInvoiceLine(f"{invoice.id}:{tax.terms.id}", name, tax.amount, invoice.period)


def _total(invoice: InvoiceRecord, lines: Sequence[NewInvoiceLine], form: Form) -> Decimal:
    off = _sum(invoice, [coupon.amount for coupon in coupons_of(invoice, form)])
    on_top = [each.amount for line in lines for each in line.taxes if not each.rate.inclusive]
    return EXACT.subtract(_sum(invoice, [*(line.amount for line in lines), *on_top]), off)


def _sum(invoice: InvoiceRecord, amounts: Sequence[Decimal]) -> Decimal:
    return added(amounts, invoice.currency)


def _share(line: LineRecord, tax: AppliedTax) -> Decimal:
    return next((share.amount for share in line.taxes if share.id == tax.terms.id), Decimal(0))


def _period(invoice: InvoiceRecord, lines: Sequence[LineRecord]) -> Period:
    return lines[0].period if len(lines) == 1 else invoice.period


def _decimals(value: Decimal) -> int:
    _, _, text = format_decimal(value).partition(".")
    return len(text)


def _described(line: LineRecord) -> str:
    if line.is_adjustment or (line.price_type != "usage" and line.quantity == 1):
        return line.display_name
    return f"{line.display_name} ({format_decimal(line.quantity)})"
