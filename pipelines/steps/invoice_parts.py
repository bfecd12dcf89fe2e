"""What an invoice is made of: its period in arrears, what is settled of its advance, and the advance of the next one.

The advance of a period is billed on the invoice of the period before it, or at the start of the subscription. It is
billed for as long as the period's own invoice is open: once that is final, everything is settled.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeAlias

from sqlalchemy.orm import Session

from billing.advance import Billed, Settlement, advance_key, settle, true_up_key
from billing.credit_note import credited_before_settlement
from billing.invoice import BillingReason, InvoiceStatus
from billing.scope import Scope
from ledger.store import credit_notes, invoices, prices, subscriptions
from ledger.store.invoices import InvoiceRecord, LineRecord
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps.billing_day import BillingDay, Due, due_of
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.isolation import Failure, failure_of
from pipelines.steps.plan_prices import Catalog, DuePrice, Part
from pipelines.steps.rate_parts import rate_parts

__all__ = [
    "advance_is_open",
    "advance_lines",
    "next_due",
    "parts_of_invoice",
    "settlements",
    "settling_invoice",
    "start_due",
    "starts_of",
]

# A line, and what credit notes gave back of it before its period was settled.
_BilledLine: TypeAlias = tuple[LineRecord, Decimal]

_ZERO, _ONE = Decimal(0), Decimal(1)
_TICK = timedelta(microseconds=1)
_START, _CYCLE = BillingReason.SUBSCRIPTION_START, BillingReason.SUBSCRIPTION_CYCLE


def parts_of_invoice(session: Session, catalog: Catalog, due: Due, *, anticipated: bool = False) -> tuple[Part, ...]:
    """The parts of a period's invoice in the order of its lines. With `anticipated`, an invoice that would have billed
    the period in advance and is not there yet is taken to do so.

    NotFound where a feature or a meter is gone.
    """
    if due.is_start:
        return _advance(session, catalog, due)
    own = catalog.parts_of(session, due)
    if not catalog.has_advance(session, due):
        return own
    following = next_due(due)
    return (
        *(part for part in own if not part.price.record.price.in_advance),
        *_true_ups(session, due, own, anticipated=anticipated),
        *(() if following is None else _advance(session, catalog, following)),
    )


def next_due(due: Due) -> Due | None:
    """The period after this one, None where the subscription ends before it begins."""
    period = due.subscription.period_at(due.full.end)
    return None if period is None else due_of(due.scope, due.subscription, period)


def starts_of(
    session: Session, start: datetime, end: datetime, now: datetime, chosen: Chosen = EVERYTHING
) -> BillingDay:
    """The chosen subscriptions that begin in [start, end), have begun by now, and bill something in advance then."""
    catalog = Catalog()
    found: list[Due] = []
    failures: list[Failure] = []
    for scope, subscription in subscriptions.begun_between(session, start, min(end, now + _TICK)):
        if not chosen.takes_subscription(scope, subscription.id):
            continue
        try:
            first = start_due(session, catalog, scope, subscription)
            if first is not None:
                known = invoices.of_period(session, scope, subscription.id, first.period.start, _START)
                found.append(first if known is None else replace(first, invoice_id=known.id, status=known.status))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this subscription's alone
            failures.append(failure_of(scope, subscription.id, subscription.start_date, error))
    return BillingDay(tuple(found), tuple(failures))


def start_due(session: Session, catalog: Catalog, scope: Scope, subscription: SubscriptionRecord) -> Due | None:
    """What a subscription bills at its start, in advance for its first period; None where that comes to nothing."""
    period = subscription.period_at(subscription.start_date)
    if period is None:
        return None
    due = due_of(scope, subscription, period, _START)
    if not catalog.has_advance(session, due):
        return None
    return due if any(amount for _, amount in _rated(due, _advance(session, catalog, due))) else None


def settlements(session: Session, catalog: Catalog, due: Due) -> dict[str, Settlement]:
    """Price id -> what of it is due for a period and was billed in advance."""
    return _settlements(due, catalog.parts_of(session, due), _billed(session, due))


def advance_is_open(session: Session, due: Due) -> bool:
    """Whether the invoice that bills the period in advance may still change."""
    found = None if due.is_start else _invoice_before(session, due)
    return found is not None and found.status is InvoiceStatus.DRAFT and bool(_of_period(found, due.period.start))


def advance_lines(invoice: InvoiceRecord) -> tuple[LineRecord, ...]:
    """The lines of an invoice that bill a period in advance."""
    if invoice.billing_reason is _START:
        return invoice.lines
    return tuple(line for line in invoice.lines if line.period.start >= invoice.period.end)


def settling_invoice(session: Session, scope: Scope, invoice: InvoiceRecord) -> InvoiceRecord | None:
    """The invoice that settles what this one bills in advance, once it is there."""
    if invoice.subscription_id is None or not advance_lines(invoice):
        return None
    start = invoice.period.start if invoice.billing_reason is _START else invoice.period.end
    return invoices.of_period(session, scope, invoice.subscription_id, start, _CYCLE)


def _advance(session: Session, catalog: Catalog, due: Due) -> tuple[Part, ...]:
    parts = [part for part in catalog.parts_of(session, due) if part.price.record.price.in_advance]
    if not parts or _is_settled(session, due):
        return ()
    return tuple(replace(part, key=advance_key(part.key)) for part in parts)


def _is_settled(session: Session, due: Due) -> bool:
    starts = [due.period.start]
    known = invoices.invoices_of_periods(session, due.scope, due.subscription.id, starts).get(due.period.start)
    return known is not None and known.status is not InvoiceStatus.DRAFT


def _true_ups(session: Session, due: Due, own: Sequence[Part], *, anticipated: bool) -> Iterator[Part]:
    billed = _billed(session, due)
    if billed is None and anticipated:
        return
    last = {part.price.record.id: part.price for part in own}
    for price_id, settlement in _settlements(due, own, billed).items():
        if settlement.is_even:
            continue
        price = last.get(price_id)
        if price is None:
            line = next(line for line, _ in billed or () if line.price_id == price_id)
            price = DuePrice(prices.price_of(session, due.scope, line), None)
        yield Part(true_up_key(price_id), due.period, price, _ONE, settlement)


def _settlements(due: Due, own: Sequence[Part], billed: Sequence[_BilledLine] | None) -> dict[str, Settlement]:
    in_advance = [part for part in own if part.price.record.price.in_advance]
    return settle(
        ((part.price.record.id, amount) for part, amount in _rated(due, in_advance)),
        (Billed(line.price_id or "", line.amount, line.discount, credited) for line, credited in billed or ()),
    )


def _rated(due: Due, parts: Sequence[Part]) -> list[tuple[Part, Decimal]]:
    subscription = due.subscription
    rated = rate_parts(parts, [part.quantity for part in parts], subscription.currency, subscription.schedule())
    return [(part, each.total) for part, each in zip(parts, rated, strict=True)]


def _billed(session: Session, due: Due) -> tuple[_BilledLine, ...] | None:
    """The lines that bill the period in advance, none of a void invoice; None where one may come that does."""
    found = _invoice_before(session, due)
    if found is not None and found.status is InvoiceStatus.VOID:
        return ()
    if found is None or found.inputs_hash is None:
        return None
    notes = credit_notes.of_invoice(session, due.scope, found.id) if found.amount_credited else ()
    credited = credited_before_settlement(part for note in notes for part in note.lines)
    return tuple((line, credited.get(line.id, _ZERO)) for line in _of_period(found, due.period.start))


def _invoice_before(session: Session, due: Due) -> InvoiceRecord | None:
    previous = due.subscription.schedule().previous(due.period)
    scope, subscription_id = due.scope, due.subscription.id
    if previous is None:
        return invoices.of_period(session, scope, subscription_id, due.period.start, _START)
    return invoices.of_period(session, scope, subscription_id, previous.start, _CYCLE)


def _of_period(invoice: InvoiceRecord, start: datetime) -> tuple[LineRecord, ...]:
    return tuple(line for line in advance_lines(invoice) if line.period.start >= start)
