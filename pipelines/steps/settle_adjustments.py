"""Adjustments that no next invoice will carry: charged by an invoice of their own, or given back by a credit note.

An environment may want that for all of them (`late_events`), and a subscription that has ended has no next invoice.
What a credit note cannot give back, because nothing is left of the line or Stripe is collecting the invoice, goes on
the next invoice instead; without one it waits, says why, and is tried again by the next run.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial

from sqlalchemy.orm import Session

from billing.credit_note import LineAmount
from billing.errors import Conflict, InvalidInput
from billing.exact import EXACT
from billing.invoice import BillingReason
from billing.line_adjustment import Treatment, adjustment_line
from billing.money import format_decimal
from billing.period import Period
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, connections, customers, invoices, line_adjustments, outbox, subscriptions
from ledger.store.credit_notes import CreditNoteRecord
from ledger.store.invoice_numbers import hold_note_numbers
from ledger.store.invoices import InvoiceRecord
from ledger.store.line_adjustments import AdjustmentRecord
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.connections import PROVIDER
from pipelines.steps.credit_invoice import NewCreditNote, issue_note
from pipelines.steps.facts import Facts
from pipelines.steps.finalize_invoices import finalize_drafts
from pipelines.steps.isolation import Failure, each_alone, failure_of
from pipelines.steps.one_off_invoice import price_one_off
from pipelines.steps.plan_prices import Catalog

__all__ = ["Settled", "settle_adjustments"]

_REASON = "Events that came late have lowered what this invoice comes to."


@dataclass(frozen=True)
class Settled:
    """`held` adjustments could not be carried and have no next invoice; each says why. The others that are left wait
    for next invoices."""

    invoices: tuple[tuple[Scope, InvoiceRecord], ...]
    credit_notes: tuple[tuple[Scope, CreditNoteRecord], ...]
    waiting: int
    held: tuple[tuple[Scope, AdjustmentRecord], ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class _Group:
    """What waits of one subscription."""

    scope: Scope
    subscription_id: str
    adjustments: tuple[AdjustmentRecord, ...]


@dataclass(frozen=True)
class _Done:
    scope: Scope
    invoice: InvoiceRecord | None
    credit_notes: tuple[CreditNoteRecord, ...]


def settle_adjustments(ledger: Ledger, now: datetime, chosen: Chosen = EVERYTHING, actor: str = "pipelines") -> Settled:
    """Charge or give back what waits for no next invoice, subscription by subscription. Run again it finds nothing.

    Raises Unavailable when the ledger is.
    """
    groups = _waiting(ledger, chosen)
    # One in a transaction: the numbers of invoices, which an earlier one took, are locked after the rows of all.
    done, failures = each_alone(ledger, groups, partial(_settle, now=now, actor=actor), _failure, 1)
    left = [(group.scope, one) for group in _waiting(ledger, chosen) for one in group.adjustments]
    held = [pair for pair in left if pair[1].held_because is not None and not _on_next(pair[1])]
    return Settled(
        invoices=tuple((each.scope, each.invoice) for each in done if each.invoice is not None),
        credit_notes=tuple((each.scope, note) for each in done for note in each.credit_notes),
        waiting=len(left) - len(held),
        held=tuple(held),
        failures=tuple(failures),
    )


def _waiting(ledger: Ledger, chosen: Chosen) -> list[_Group]:
    with ledger.read() as session:
        waiting = line_adjustments.waiting(session)
    groups: defaultdict[tuple[Scope, str], list[AdjustmentRecord]] = defaultdict(list)
    for scope, one in waiting:
        if chosen.takes_subscription(scope, one.subscription_id):
            groups[scope, one.subscription_id].append(one)
    return [_Group(*key, tuple(some)) for key, some in groups.items()]


def _settle(session: Session, group: _Group, *, now: datetime, actor: str) -> _Done:
    scope = group.scope
    subscription = subscriptions.get_subscription(session, scope, group.subscription_id)
    if all(map(_on_next, group.adjustments)) and _has_next(session, scope, subscription, now):
        return _Done(scope, None, ())
    # The counter of the notes before all else, as whoever credits locks it; that of the invoices comes last.
    hold_note_numbers(session, scope, now)
    subscription = subscriptions.hold_subscription(session, scope, group.subscription_id)
    has_next = _has_next(session, scope, subscription, now)
    pending = line_adjustments.pending_of(session, scope, subscription.id)
    apart = [one for one in pending if not (has_next and _on_next(one))]
    charged = [one for one in apart if one.amount > 0]
    notes = _credit(session, scope, [one for one in apart if one.amount < 0], actor, now, has_next=has_next)
    invoice = _charge(session, scope, subscription, charged, actor, now) if charged else None
    return _Done(scope, invoice, notes)


def _on_next(adjustment: AdjustmentRecord) -> bool:
    return adjustment.treatment.waits_for_next_invoice(adjustment.amount)


def _has_next(session: Session, scope: Scope, subscription: SubscriptionRecord, now: datetime) -> bool:
    """Whether another invoice of the subscription is to come: it runs, or its last period is not closed."""
    if subscription.end_date is None or subscription.end_date > now:
        return True
    closed = invoices.last_closed_end(session, scope, subscription.id)
    return closed is None or closed < subscription.end_date


def _charge(
    session: Session,
    scope: Scope,
    subscription: SubscriptionRecord,
    adjustments: Sequence[AdjustmentRecord],
    actor: str,
    now: datetime,
) -> InvoiceRecord:
    """One invoice over all of them, finalized; with an active connection it is on its way to the provider."""
    customer = customers.get_customer(session, scope, subscription.customer_id)
    draft = invoices.create_one_off(
        session,
        scope,
        customer,
        currency=subscription.currency,
        period=Period(min(one.period.start for one in adjustments), max(one.period.end for one in adjustments)),
        collection_method=subscription.collection_method,
        metadata={},
        now=now,
        reason=BillingReason.ADJUSTMENT,
    )
    line_adjustments.carry(session, scope, [one.id for one in adjustments], invoice_id=draft.id)
    carried = line_adjustments.carried(session, scope, [draft.id])[draft.id]
    draft = price_one_off(session, scope, draft, [adjustment_line(one) for one in carried], now)
    said = {"total": format_decimal(draft.total), "currency": draft.currency, "lines": len(carried)}
    audit.write(session, scope, actor, "invoice.created", "invoice", draft.id, said, now)
    (done,), _ = finalize_drafts(Facts(session, scope, Catalog()), [draft], actor, now)
    if not isinstance(done, InvoiceRecord):
        # It stays a draft that has claimed them, for a person to look at: GET /api/v1/invoices/{id}/gates says why.
        return draft
    if connections.active(session, scope, PROVIDER) is not None:
        outbox.enqueue(session, scope, "invoice.sync", done.id, now)
    return done


def _credit(
    session: Session,
    scope: Scope,
    adjustments: Sequence[AdjustmentRecord],
    actor: str,
    now: datetime,
    *,
    has_next: bool,
) -> tuple[CreditNoteRecord, ...]:
    """One credit note for each invoice that has come to less."""
    by_invoice: defaultdict[str, list[AdjustmentRecord]] = defaultdict(list)
    for one in adjustments:
        by_invoice[one.invoice_id].append(one)
    notes = []
    for invoice_id, some in sorted(by_invoice.items()):
        wanted = NewCreditNote(
            invoice_id, next((one.reason for one in some if one.reason), _REASON), items=_items(some)
        )
        try:
            with session.begin_nested():
                note = issue_note(session, scope, wanted, actor, now)
                line_adjustments.carry(session, scope, [one.id for one in some], credit_note_id=note.id)
        except (Conflict, InvalidInput) as error:
            why = f"{error.code}: {error.detail}"
            for one in some:
                if has_next or one.held_because != why:
                    line_adjustments.set_treatment(
                        session, scope, one.id, Treatment.NEXT_INVOICE if has_next else None, why
                    )
        else:
            notes.append(note)
    return tuple(notes)


def _items(adjustments: Iterable[AdjustmentRecord]) -> list[LineAmount]:
    by_line: defaultdict[str, Decimal] = defaultdict(Decimal)
    for one in adjustments:
        by_line[one.line_id] = EXACT.subtract(by_line[one.line_id], one.amount)
    return [LineAmount(line_id, net=amount) for line_id, amount in by_line.items()]


def _failure(group: _Group, error: Exception) -> Failure:
    return failure_of(group.scope, group.subscription_id, group.adjustments[0].period.start, error)
