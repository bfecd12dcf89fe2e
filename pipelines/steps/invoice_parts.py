"""What an invoice is made of: its period in arrears, what is settled of its advance, and the advance of the next one.

The advance of a period is billed on the invoice of the period before it, or at the start of the subscription. It is
billed for as long as the period's own invoice is open: once that is final, everything is settled.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import groupby
from typing import TypeAlias

from sqlalchemy.orm import Session

from billing.advance import Billed, Settlement, advance_key, settle, true_up_key
from billing.credit_note import credited_before_settlement
from billing.invoice import BillingReason, InvoiceStatus
from billing.scope import Scope
from ledger.store import credit_notes, invoices, subscriptions
from ledger.store.invoices import InvoiceRecord, LineRecord
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps.billing_day import BillingDay, Due, due_of
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.facts import Facts
from pipelines.steps.isolation import Failure, apart, failure_of
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
    "starts_among",
    "starts_of",
]

# A line, and what credit notes gave back of it before its period was settled.
_BilledLine: TypeAlias = tuple[LineRecord, Decimal]

_ZERO, _ONE = Decimal(0), Decimal(1)
_TICK = timedelta(microseconds=1)
_Begun = tuple[Scope, SubscriptionRecord]
_START, _CYCLE = BillingReason.SUBSCRIPTION_START, BillingReason.SUBSCRIPTION_CYCLE


def parts_of_invoice(facts: Facts, due: Due, *, anticipated: bool = False) -> tuple[Part, ...]:
    """The parts of a period's invoice in the order of its lines. With `anticipated`, an invoice that would have billed
    the period in advance and is not there yet is taken to do so.

    NotFound where a feature or a meter is gone.
    """
    if due.is_start:
        return _advance(facts, due)
    own = facts.catalog.parts_of(facts.session, due)
    if not facts.catalog.has_advance(facts.session, due):
        return own
    following = next_due(due)
    return (
        *(part for part in own if not part.price.record.price.in_advance),
        *_true_ups(facts, due, own, anticipated=anticipated),
        *(() if following is None else _advance(facts, following)),
    )


def next_due(due: Due) -> Due | None:
    """The period after this one, None where the subscription ends before it begins."""
    period = due.subscription.period_at(due.full.end)
    return None if period is None else due_of(due.scope, due.subscription, period)


def starts_of(
    session: Session, start: datetime, end: datetime, now: datetime, chosen: Chosen = EVERYTHING
) -> BillingDay:
    """The chosen subscriptions that begin in [start, end), have begun by now, and bill something in advance then."""
    begun = subscriptions.begun_between(session, start, min(end, now + _TICK))
    return starts_among(session, [one for one in begun if chosen.takes_subscription(one[0], one[1].id)])


def starts_among(session: Session, begun: Sequence[tuple[Scope, SubscriptionRecord]]) -> BillingDay:
    """What subscriptions that have begun bill in advance at their start."""
    catalog = Catalog()
    found: list[Due] = []
    failures: list[Failure] = []
    for scope, some in groupby(sorted(begun, key=_scope_of), _scope_of):
        facts, of_scope = Facts(session, scope, catalog), list(some)
        facts.expect_starts(subscription for _, subscription in of_scope)
        seen, failed = apart(of_scope, partial(_start_of, facts), _begun_failure)
        failures += failed
        found += [due for _, due in seen if due is not None]
    return BillingDay(tuple(found), tuple(failures))


def _scope_of(begun: _Begun) -> Scope:
    return begun[0]


def _begun_failure(begun: _Begun, error: Exception) -> Failure:
    scope, subscription = begun
    return failure_of(scope, subscription.id, subscription.start_date, error)


def _start_of(facts: Facts, begun: _Begun) -> Due | None:
    _, subscription = begun
    first = start_due(facts, subscription)
    if first is None:
        return None
    known = facts.invoice_of(subscription.id, first.period.start, _START)
    return first if known is None else replace(first, invoice_id=known.id, status=known.status)


def start_due(facts: Facts, subscription: SubscriptionRecord) -> Due | None:
    """What a subscription bills at its start, in advance for its first period; None where that comes to nothing."""
    period = subscription.period_at(subscription.start_date)
    if period is None:
        return None
    due = due_of(facts.scope, subscription, period, _START)
    if not facts.catalog.has_advance(facts.session, due):
        return None
    return due if any(amount for _, amount in _rated(due, _advance(facts, due))) else None


def settlements(facts: Facts, due: Due) -> dict[str, Settlement]:
    """Price id -> what of it is due for a period and was billed in advance."""
    return _settlements(due, facts.catalog.parts_of(facts.session, due), _billed(facts, due))


def advance_is_open(facts: Facts, due: Due) -> bool:
    """Whether the invoice that bills the period in advance may still change."""
    if due.is_start or not facts.catalog.has_advance(facts.session, due):
        return False
    found = _invoice_before(facts, due)
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


def _advance(facts: Facts, due: Due) -> tuple[Part, ...]:
    own = facts.catalog.parts_of(facts.session, due)
    parts = [part for part in own if part.price.record.price.in_advance]
    if not parts or _is_settled(facts, due):
        return ()
    return tuple(replace(part, key=advance_key(part.key)) for part in parts)


def _is_settled(facts: Facts, due: Due) -> bool:
    known = facts.invoice_of(due.subscription.id, due.period.start, _CYCLE)
    return known is not None and known.status is not InvoiceStatus.DRAFT


def _true_ups(facts: Facts, due: Due, own: Sequence[Part], *, anticipated: bool) -> Iterator[Part]:
    billed = _billed(facts, due)
    if billed is None and anticipated:
        return
    last = {part.price.record.id: part.price for part in own}
    for price_id, settlement in _settlements(due, own, billed).items():
        if settlement.is_even:
            continue
        price = last.get(price_id)
        if price is None:
            line = next(line for line, _ in billed or () if line.price_id == price_id)
            record = facts.catalog.recorded_price(facts.session, due.scope, price_id, line.price_version)
            price = DuePrice(record, None)
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


def _billed(facts: Facts, due: Due) -> tuple[_BilledLine, ...] | None:
    """The lines that bill the period in advance, none of a void invoice; None where one may come that does."""
    found = _invoice_before(facts, due)
    if found is not None and found.status is InvoiceStatus.VOID:
        return ()
    if found is None or found.inputs_hash is None:
        return None
    notes = credit_notes.of_invoice(facts.session, due.scope, found.id) if found.amount_credited else ()
    credited = credited_before_settlement(part for note in notes for part in note.lines)
    return tuple((line, credited.get(line.id, _ZERO)) for line in _of_period(found, due.period.start))


def _invoice_before(facts: Facts, due: Due) -> InvoiceRecord | None:
    previous = due.subscription.schedule().previous(due.period)
    if previous is None:
        return facts.invoice_of(due.subscription.id, due.period.start, _START)
    return facts.invoice_of(due.subscription.id, previous.start, _CYCLE)


def _of_period(invoice: InvoiceRecord, start: datetime) -> tuple[LineRecord, ...]:
    return tuple(line for line in advance_lines(invoice) if line.period.start >= start)
