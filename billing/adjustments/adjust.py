"""From lines to an invoice: the order of the steps is `adjust`, readable in one screen.

lines, each rounded -> subtotal -> discounts, one after the other -> taxes -> total

Whoever needs an invoice's amounts (pricing, a preview, the gate, making it again) asks here. Credits are no part of it:
they pay the total when the invoice is finalized (`credit.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from billing.adjustments.coupon import take_off
from billing.adjustments.split import added, split
from billing.adjustments.tax import exclusive, inclusive
from billing.advance import gives_back
from billing.exact import EXACT
from billing.invoice import LineDraft, Share, total
from billing.money import from_minor, nothing_in

__all__ = [
    "Adjusted",
    "AppliedDiscount",
    "AppliedTax",
    "DiscountTerms",
    "InvoiceTerms",
    "TaxTerms",
    "adjust",
    "discountable",
]


@dataclass(frozen=True)
class DiscountTerms:
    """A coupon as it was given to a customer; `id` is that of the discount. The coupon's terms never change."""

    id: str
    coupon_id: str
    name: str
    percent_off: Decimal | None = None
    amount_off: Decimal | None = None
    currency: str | None = None


@dataclass(frozen=True)
class TaxTerms:
    """A tax rate; its percentage never changes."""

    id: str
    name: str
    percentage: Decimal
    inclusive: bool


@dataclass(frozen=True)
class InvoiceTerms:
    """What is taken off and added to the lines, in this order. With the lines it decides every amount."""

    discounts: tuple[DiscountTerms, ...] = ()
    taxes: tuple[TaxTerms, ...] = ()


@dataclass(frozen=True)
class AppliedDiscount:
    """What a discount came to; `applies` is false where its currency is not the invoice's."""

    terms: DiscountTerms
    amount: Decimal
    applies: bool


@dataclass(frozen=True)
class AppliedTax:
    """The one amount of a rate on an invoice. `taxable` is what it is counted on; an inclusive tax is in the total
    already, an exclusive one comes on top."""

    terms: TaxTerms
    taxable: Decimal
    amount: Decimal


@dataclass(frozen=True)
class Adjusted:
    """An invoice's amounts. `discount_total` and `tax_total` are the sums of what stands on the lines, to the last
    unit; `total` is subtotal - discount_total + the exclusive part of the taxes and may be below zero."""

    lines: tuple[LineDraft, ...]
    subtotal: Decimal
    discount_total: Decimal
    tax_total: Decimal
    total: Decimal
    discounts: tuple[AppliedDiscount, ...]
    taxes: tuple[AppliedTax, ...]

    @property
    def amount_due(self) -> Decimal:
        """What is asked for before credits: a total below zero is owed to the customer, nothing is due."""
        return max(self.total, EXACT.subtract(self.total, self.total))


def adjust(lines: Sequence[LineDraft], terms: InvoiceTerms, currency: str) -> Adjusted:
    """The invoice that these lines and terms make. What the lines say of an earlier adjustment does not count.

    Discounts only lower what is `discountable`, if that is above zero; taxes follow the sign of what is left.
    InvalidInput `not_in_minor_units` names a line whose amount is not payable.
    """
    subtotal = total(lines, currency)
    if not terms.discounts and not terms.taxes:
        nothing = nothing_in(currency)
        return Adjusted(tuple(_plain(line, nothing) for line in lines), subtotal, nothing, nothing, subtotal, (), ())
    discounts, off_lines, left, by_line = _discounted(subtotal, lines, terms.discounts, currency)
    taxes, on_lines, due = _taxed(left, by_line, terms.taxes, currency)
    adjusted = tuple(
        replace(
            line,
            discounts=tuple(Share(each.terms.id, off[at]) for each, off in zip(discounts, off_lines, strict=True)),
            discount=added((off[at] for off in off_lines), currency),
            taxes=tuple(Share(each.terms.id, on[at]) for each, on in zip(taxes, on_lines, strict=True)),
            tax=added((on[at] for on in on_lines), currency),
        )
        for at, line in enumerate(lines)
    )
    return Adjusted(
        lines=adjusted,
        subtotal=subtotal,
        discount_total=added((each.amount for each in discounts), currency),
        tax_total=added((each.amount for each in taxes), currency),
        total=due,
        discounts=discounts,
        taxes=taxes,
    )


def discountable(lines: Sequence[LineDraft]) -> Decimal:
    """The sum of the lines that coupons count on: all but those that give back some of an advance, and adjustments."""
    summed = Decimal(0)
    for line in lines:
        if not _left_alone(line):
            summed = EXACT.add(summed, line.amount)
    return summed


def _plain(line: LineDraft, nothing: Decimal) -> LineDraft:
    """The line without discounts and taxes: most are so already."""
    if (
        not line.discounts
        and not line.taxes
        and (line.discount is nothing or (line.discount == nothing and line.discount.same_quantum(nothing)))
        and (line.tax is nothing or (line.tax == nothing and line.tax.same_quantum(nothing)))
    ):
        return line
    return replace(line, discounts=(), discount=nothing, taxes=(), tax=nothing)


def _left_alone(line: LineDraft) -> bool:
    """Whether coupons leave a line alone: those of the earlier invoice are in it already."""
    return line.is_adjustment or gives_back(line.key, line.amount)


def _discounted(
    subtotal: Decimal, lines: Sequence[LineDraft], discounts: Sequence[DiscountTerms], currency: str
) -> tuple[tuple[AppliedDiscount, ...], list[list[Decimal]], Decimal, list[Decimal]]:
    """Each discount, its parts by line, and what is left of the subtotal and of each line."""
    base = discountable(lines)
    counted = [from_minor(0, currency) if _left_alone(line) else line.amount for line in lines]
    by_line = [line.amount for line in lines]
    applied, shares = [], []
    for each in discounts:
        applies = each.amount_off is None or each.currency == currency
        if applies and base > 0:
            off, base = take_off(base, each.percent_off, each.amount_off, currency)
        else:
            off = from_minor(0, currency)
        parts = split(off, counted, currency)
        counted = [EXACT.subtract(amount, part) for amount, part in zip(counted, parts, strict=True)]
        by_line = [EXACT.subtract(amount, part) for amount, part in zip(by_line, parts, strict=True)]
        subtotal = EXACT.subtract(subtotal, off)
        applied.append(AppliedDiscount(each, off, applies))
        shares.append(parts)
    return tuple(applied), shares, subtotal, by_line


def _taxed(
    taxable: Decimal, by_line: Sequence[Decimal], taxes: Sequence[TaxTerms], currency: str
) -> tuple[tuple[AppliedTax, ...], list[list[Decimal]], Decimal]:
    """Each tax, its parts by line, and the total. Exclusive taxes are counted on the amount without inclusive ones."""
    held = inclusive(taxable, [each.percentage for each in taxes if each.inclusive], currency)
    inside = [split(part, by_line, currency) for part in held.parts]
    net = EXACT.subtract(taxable, held.tax)
    net_by_line = [
        EXACT.subtract(amount, added((parts[at] for parts in inside), currency)) for at, amount in enumerate(by_line)
    ]
    top = exclusive(net, [each.percentage for each in taxes if not each.inclusive], currency)
    on_top = [split(part, net_by_line, currency) for part in top.parts]
    parts_of = {True: iter(zip(held.parts, inside, strict=True)), False: iter(zip(top.parts, on_top, strict=True))}
    applied, shares = [], []
    for each in taxes:
        amount, parts = next(parts_of[each.inclusive])
        applied.append(AppliedTax(each, net, amount))
        shares.append(parts)
    return tuple(applied), shares, EXACT.add(taxable, top.tax)
