"""The invoices of one subscription, a second time: from contract and history to what is due at each boundary.

A case has what `lines` asks for and `discounts`, `tax_rates`, `tax_exempt`, `credits` (grants with what remains).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from functools import partial

from tests.support.invoice_model.adjustments import (
    apply_credits,
    apply_discounts,
    apply_taxes,
    discountable,
    in_scope,
)
from tests.support.invoice_model.lines import Line, lines, true_ups
from tests.support.invoice_model.periods import Body, Segment, Span, end_of, grid_periods, instant, known, segments
from tests.support.price_model import EXPONENTS


@dataclass
class Invoice:
    billing_reason: str
    period: Span
    due_at: datetime
    lines: list[Line]
    discounts: list[tuple[str, Fraction]] = field(default_factory=list)
    taxes: list[tuple[str, Fraction]] = field(default_factory=list)
    credits: list[tuple[str, Fraction]] = field(default_factory=list)
    priced_at: datetime | None = None
    # What its usage and arrears come to for other events: the first lines of it, in their order.
    rate: Callable[[Body], list[Line]] = lambda case: []
    coupons: list[Body] = field(default_factory=list)
    # What credit notes gave back of each of the credits.
    returned: dict[int, Fraction] = field(default_factory=dict)

    @property
    def subtotal(self) -> Fraction:
        return sum((line.amount for line in self.lines), Fraction(0))

    @property
    def discount_total(self) -> Fraction:
        return sum((amount for _, amount in self.discounts), Fraction(0))

    @property
    def tax_total(self) -> Fraction:
        return sum((amount for _, amount in self.taxes), Fraction(0))

    @property
    def total(self) -> Fraction:
        """The subtotal less discounts, and the exclusive taxes on top; inclusive ones are already in it."""
        return self.subtotal - self.discount_total + sum((line.tax for line in self.lines), Fraction(0))

    @property
    def credits_applied(self) -> Fraction:
        return sum((amount for _, amount in self.credits), Fraction(0))

    @property
    def amount_due(self) -> Fraction:
        """Never below nothing: a negative total becomes the customer's credit."""
        return max(Fraction(0), self.total - self.credits_applied)


def advance_lines(case: Body, grid: Span, at: datetime) -> list[Line]:
    """Advance prices of a period with what is known at `at`; nothing for one that begins at or after the end."""
    history = known(case.get("history", []), at)
    return lines(case, segments(case["subscription"], history, grid), grid, advance=True)


def unadjusted(
    case: Body,
    until: datetime,
    priced_at: Callable[[datetime], datetime] = lambda due: due,
    adjust: Callable[[Invoice], object] = lambda invoice: invoice,
    looks: Iterable[datetime] = (),
    known_at: Callable[[datetime], Body] | None = None,
) -> list[Invoice]:
    """Every invoice that falls due by `until`, each priced at `priced_at` of the moment when it falls due.

    The start invoice holds the first period's advance prices and is not made when nothing is due in advance; `looks`
    are later moments at which something may be, as long as the period is open and the start no more than 35 days ago.
    The invoice of a period is due when the period ends, which is the subscription's end where that comes first; it
    holds the period's usage and arrears, what the advance was wrong by, and the next period's advance. `adjust` is told
    each of them before the next one is made. `known_at` is asked for the case with the usage known at a moment, right
    before an invoice is made then.
    """
    subscription, history = case["subscription"], case.get("history", [])
    start = instant(subscription["start"])
    periods = grid_periods(subscription)
    grid = next(periods)
    found: list[Invoice] = []
    first_end = grid.within(start, end_of(subscription, known(history, priced_at(grid.end)))).end
    again = (look for look in looks if priced_at(start) < look <= priced_at(first_end) and _is_recent(start, look))
    for now in sorted({priced_at(start), *again}):
        billed = advance_lines(case, grid, now)
        if any(line.amount for line in billed) and start <= until:
            first = grid.within(start, end_of(subscription, known(history, now)))
            found.append(Invoice("subscription_start", first, start, billed, priced_at=now))
            adjust(found[-1])
            break
    billed = billed if found else []
    while True:
        period = grid.within(start, end_of(subscription, known(history, priced_at(grid.end))))
        if period.start >= period.end or period.end > until:
            return found
        now = priced_at(period.end)
        cut = segments(subscription, known(history, now), grid)
        rate = partial(_arrears, cut, grid)
        made = rate(case if known_at is None else known_at(now))
        made += true_ups(lines(case, cut, grid, advance=True), billed, period, EXPONENTS[case["currency"]])
        grid = next(periods)
        billed = advance_lines(case, grid, now)
        found.append(Invoice("subscription_cycle", period, period.end, [*made, *billed], priced_at=now, rate=rate))
        adjust(found[-1])


def _arrears(cut: list[Segment], grid: Span, case: Body) -> list[Line]:
    return lines(case, cut, grid, advance=False)


def _is_recent(start: datetime, look: datetime) -> bool:
    """Whether the day of the start is one of the last 35."""
    return start >= look.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=35)


def adjusted(case: Body, invoice: Invoice, discounts: list[Body], at: datetime | None = None) -> Invoice:
    """Coupons, then taxes on what they left, then credits on the total with taxes: those of the moment `at` which it is
    final, or falls due."""
    currency = case["currency"]
    places = EXPONENTS[currency]
    invoice.coupons = discounts
    invoice.discounts = apply_discounts(invoice.lines, discounts, currency, places)
    rates = [] if case.get("tax_exempt") else case.get("tax_rates", [])
    invoice.taxes = apply_taxes(invoice.lines, rates, places)
    invoice.credits = apply_credits(invoice.total, case.get("credits", []), currency, at or invoice.due_at)
    return invoice


def invoices(case: Body, until: str) -> list[Invoice]:
    """What the subscription is billed by `until`. Grants are not drawn down from one invoice to the next."""
    before: list[Invoice] = []

    def adjust(invoice: Invoice) -> None:
        before.append(adjusted(case, invoice, discounts_of(case, invoice, before)))

    return unadjusted(case, instant(until), adjust=adjust)


def discounts_of(case: Body, invoice: Invoice, before: list[Invoice]) -> list[Body]:
    """The discounts that apply to an invoice after those `before` it."""
    sums = [sum((line.amount for line in discountable(one.lines)), Fraction(0)) for one in before]
    periods = len({one.period.start for one in before if one.period.start < invoice.period.start})
    return [one for one in case.get("discounts", []) if in_scope(one, sums, periods)]
