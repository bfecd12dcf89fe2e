"""What the lines of a finalized invoice come to with other quantities or prices, and what has been billed of them.

The parts of the invoice are priced together, so that tiers go on from one to the next as they did; the coupons are
those that the invoice was made with. What is due in advance, or settles an advance, is no usage and stays as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from sqlalchemy.orm import Session

from billing.adjustments.adjust import AppliedDiscount, InvoiceTerms
from billing.adjustments.coupon import Duration
from billing.exact import EXACT
from billing.line_adjustment import nets_with
from billing.meter import Meter
from billing.scope import Scope
from ledger.store import coupons, subscriptions
from ledger.store.invoices import InvoiceRecord, LineRecord
from ledger.store.line_adjustments import AdjustmentRecord
from ledger.store.prices import PriceRecord
from pipelines.steps.billing_day import due_of
from pipelines.steps.facts import Facts
from pipelines.steps.plan_prices import Catalog, Part
from pipelines.steps.rate_parts import rate_parts
from pipelines.steps.recorded_parts import recorded_parts

__all__ = ["RatedLine", "billed_of", "rated_again"]


@dataclass(frozen=True)
class RatedLine:
    """A line of a finalized invoice and what it comes to: `due` is less discounts, without taxes on top."""

    line: LineRecord
    price: PriceRecord
    meter: Meter | None
    quantity: Decimal
    due: Decimal


def rated_again(
    session: Session,
    scope: Scope,
    invoice: InvoiceRecord,
    quantities: Mapping[str, Decimal],
    other_prices: Mapping[str, PriceRecord],
) -> tuple[RatedLine, ...]:
    """The lines of a subscription's finalized invoice that bill its own period, each with the quantity and by the price
    that is named for its id, or with its own.

    Only what the quantities and prices make of a line is taken over, not what other code would: a line for which
    nothing changes comes to what it did.
    """
    subscription = subscriptions.get_subscription(session, scope, invoice.subscription_id or "")
    due = due_of(scope, subscription, invoice.period, invoice.billing_reason)
    parts = recorded_parts(Facts(session, scope, Catalog()), due, invoice)
    lines, schedule = invoice.own_lines, subscription.schedule()
    counted = [quantities.get(line.id, line.quantity) for line in lines]
    repriced = [_repriced(part, other_prices.get(line.id)) for part, line in zip(parts, lines, strict=True)]
    before = rate_parts(parts, [line.quantity for line in lines], invoice.currency, schedule)
    after = rate_parts(repriced, counted, invoice.currency, schedule)
    amounts = [
        EXACT.add(line.amount, EXACT.subtract(new.total, old.total))
        for line, old, new in zip(lines, before, after, strict=True)
    ]
    nets = nets_with(lines, amounts, _terms(session, scope, invoice), invoice.currency)
    return tuple(
        RatedLine(line, part.price.record, part.price.meter, quantity, net)
        for line, part, quantity, net in zip(lines, repriced, counted, nets, strict=True)
    )


def billed_of(line: LineRecord, adjustments: tuple[AdjustmentRecord, ...]) -> Decimal:
    """What a line and its adjustments come to together, less discounts."""
    billed = EXACT.subtract(line.amount, line.discount)
    for each in adjustments:
        billed = EXACT.add(billed, each.amount)
    return billed


def _repriced(part: Part, price: PriceRecord | None) -> Part:
    return part if price is None else replace(part, price=replace(part.price, record=price))


def _terms(session: Session, scope: Scope, invoice: InvoiceRecord) -> InvoiceTerms:
    """The invoice's coupons, without one that counts once and took nothing off it: it is for a later invoice."""
    kept = (each.terms for each in invoice.discounts if each.amount > 0 or not _counts_once(session, scope, each))
    return InvoiceTerms(tuple(kept))


def _counts_once(session: Session, scope: Scope, applied: AppliedDiscount) -> bool:
    return coupons.get_coupon(session, scope, applied.terms.coupon_id).terms.duration is Duration.ONCE
