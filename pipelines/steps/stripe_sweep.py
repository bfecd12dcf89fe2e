"""Catches up on everything that waits for the provider: webhooks in the inbox, work in the outbox, open invoices.

Run every minute by whoever has a clock. A crash after a commit, a lost webhook or an outage of the provider costs
time and nothing else: what is left over is found here.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.errors import Conflict, NotFound, TallyError
from billing.ports import ProviderKeyRefused, ProviderRejected
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import invoices, mappings, outbox
from ledger.store.outbox import OutboxRecord
from pipelines.steps import (
    collect_invoice,
    credit_invoice,
    refund_payment,
    sync_credit_notes,
    sync_customer,
    sync_invoice,
    sync_plan,
    sync_subscription,
)
from pipelines.steps.backoff import next_attempt
from pipelines.steps.connections import Gateways, Link
from pipelines.steps.follow_invoice import ENTITY, follow
from pipelines.steps.process_webhook import Processed, process_due
from pipelines.steps.send_invoices import send_invoices

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 20
LEASE = timedelta(minutes=5)
Answers = dict[tuple[Scope, str], sync_invoice.SyncResult | Exception]
Push = Callable[[Ledger, Scope, Link, str, datetime], str | None]


@dataclass(frozen=True)
class Swept:
    """`done`, `retried` and `dead` count outbox items; `dead` were given up."""

    webhooks: Processed
    done: int
    retried: int
    dead: int


def sweep(ledger: Ledger, gateways: Gateways, now: datetime, limit: int = 100) -> Swept:
    """One round over the inbox and the outbox of all environments. One bad item never stops the others."""
    webhooks = process_due(ledger, gateways, now, limit)
    with ledger.begin() as session:
        claimed = outbox.claim_due(session, now, limit, LEASE)
    sent = _sent_together(ledger, gateways, claimed, now)
    outcomes = [_work(ledger, gateways, scope, item, sent, now) for scope, item in claimed]
    return Swept(webhooks, *(outcomes.count(name) for name in ("done", "retried", "dead")))


def follow_open(ledger: Ledger, gateways: Gateways, scope: Scope, now: datetime) -> int:
    """Looks at every invoice that is open at the provider, in case a webhook was lost; returns how many.

    An invoice that the provider no longer knows stops nobody. ProviderUnavailable: the rest is looked at next time.
    """
    link = gateways.active(scope)
    if link is None:
        return 0
    cursor, looked = None, 0
    while True:
        with ledger.read() as session:
            page = mappings.list_mappings(
                session, scope, connection_id=link.connection.id, entity=ENTITY, state="done", cursor=cursor, limit=100
            )
        for mapping in page.items:
            if mapping.detail.get("status") == "open" and mapping.provider_id is not None:
                try:
                    follow(ledger, scope, link, mapping.entity_id, mapping.provider_id, now)
                    looked += 1
                except ProviderRejected as error:
                    log.warning("invoice %s cannot be looked at: %s", mapping.entity_id, error.code)
        cursor = page.next_cursor
        if cursor is None:
            return looked


def _sent_together(
    ledger: Ledger, gateways: Gateways, claimed: Sequence[tuple[Scope, OutboxRecord]], now: datetime
) -> Answers:
    """What became of the invoices among the work, which are sent at the same time; the rest is done in its order."""
    by_scope: defaultdict[Scope, list[str]] = defaultdict(list)
    for scope, item in claimed:
        if item.kind == "invoice.sync":
            by_scope[scope].append(item.entity_id)
    answers: Answers = {}
    for scope, ids in by_scope.items():
        with ledger.read() as session:
            unsent = invoices.unsent(session, scope, ids)
        found = send_invoices(ledger, gateways, scope, unsent, now)
        answers |= {(scope, invoice_id): answer for invoice_id, answer in found.items()}
    return answers


def _work(ledger: Ledger, gateways: Gateways, scope: Scope, item: OutboxRecord, sent: Answers, now: datetime) -> str:
    do = KINDS.get(item.kind)
    outcome: datetime | str | None
    try:
        if item.kind == "invoice.sync" and (scope, item.entity_id) in sent:
            outcome = _outcome(sent[scope, item.entity_id])
        else:
            outcome = f"unknown kind {item.kind}" if do is None else do(ledger, gateways, scope, item.entity_id, now)
    except NotFound as error:
        outcome = error.code
    except Exception as error:
        if not isinstance(error, TallyError):
            log.exception("outbox item %s (%s) failed", item.id, item.kind)
        reason = f"{error.code}: {error.detail}"[:500] if isinstance(error, TallyError) else type(error).__name__
        return _again(ledger, scope, item, reason, now)
    with ledger.begin() as session:
        match outcome:
            case None:
                outbox.done(session, scope, item.id, now)
            case datetime():
                outbox.put_off(session, scope, item.id, outcome)
            case str():
                outbox.give_up(session, scope, item.id, outcome, now)
    return "dead" if isinstance(outcome, str) else "done"


def _again(ledger: Ledger, scope: Scope, item: OutboxRecord, reason: str, now: datetime) -> str:
    at = next_attempt(item.attempts, MOST_ATTEMPTS, now)
    with ledger.begin() as session:
        if at is None:
            outbox.give_up(session, scope, item.id, reason, now)
            return "dead"
        outbox.retry_later(session, scope, item.id, at, reason)
        return "retried"


def _customer(ledger: Ledger, gateways: Gateways, scope: Scope, customer_id: str, now: datetime) -> str | None:
    """Without an active connection there is nothing to do: the customer is made when an invoice needs it."""
    link = gateways.active(scope)
    if link is not None and link.syncs("customer", "outbound"):
        sync_customer.push_customer(ledger, scope, link, customer_id, now)
    return None


def _invoice(ledger: Ledger, gateways: Gateways, scope: Scope, invoice_id: str, now: datetime) -> str | None:
    return _outcome(sync_invoice.sync(ledger, scope, gateways, invoice_id, now))


def _outcome(result: sync_invoice.SyncResult | Exception) -> str | None:
    """A refusal is an answer, kept in the mapping; what Stripe rejected is left for people to look at.

    A customer that could not be sent is tried again: what stands in the way, as a key without a permission, may go.
    """
    if isinstance(result, Exception):
        raise result
    if result.reason == "customer_not_synced":
        raise Conflict(result.reason, result.detail or "")
    return f"{result.reason}: {result.detail}" if result.outcome == "failed" else None


def _plan(ledger: Ledger, gateways: Gateways, scope: Scope, plan_id: str, now: datetime) -> str | None:
    return _mirror(ledger, gateways, scope, "plan", plan_id, sync_plan.push_plan, now)


def _subscription(ledger: Ledger, gateways: Gateways, scope: Scope, subscription_id: str, now: datetime) -> str | None:
    return _mirror(ledger, gateways, scope, "subscription", subscription_id, sync_subscription.push_subscription, now)


def _mirror(
    ledger: Ledger, gateways: Gateways, scope: Scope, entity: str, entity_id: str, push: Push, now: datetime
) -> str | None:
    """What Stripe rejects is left for people to look at, the reason in the mapping: asking again changes nothing."""
    link = gateways.active(scope)
    if link is None or not link.syncs(entity, "outbound"):
        return None
    try:
        push(ledger, scope, link, entity_id, now)
    except ProviderKeyRefused:
        raise
    except Conflict as error:
        reason = f"{error.code}: {error.detail}"[:500]
        with ledger.begin() as session:
            mappings.intend(session, scope, link.connection.id, entity, entity_id, now)
            mappings.record(
                session, scope, link.connection.id, entity, entity_id, state="failed", last_error=reason, now=now
            )
        return reason
    return None


def _collect(ledger: Ledger, gateways: Gateways, scope: Scope, invoice_id: str, now: datetime) -> datetime | None:
    return collect_invoice.collect(ledger, scope, gateways, invoice_id, now)


def _collect_again(ledger: Ledger, gateways: Gateways, scope: Scope, customer_id: str, now: datetime) -> None:
    collect_invoice.collect_again(ledger, scope, gateways, customer_id, now)


def _credit_notes(ledger: Ledger, gateways: Gateways, scope: Scope, invoice_id: str, now: datetime) -> str | None:
    """Notes follow their invoice: one that is on its way takes them along, one that was never sent needs none."""
    with ledger.read() as session:
        known = mappings.list_mappings(session, scope, entity=ENTITY, entity_id=invoice_id, limit=100).items
    if not any("request" in mapping.detail for mapping in known):
        return None
    link = gateways.active(scope)
    if link is None:
        raise gateways.missing(scope)
    if all(mapping.state != "done" for mapping in known):
        return _invoice(ledger, gateways, scope, invoice_id, now)
    return sync_credit_notes.push_notes(ledger, scope, link, invoice_id, now)


def _refund(ledger: Ledger, gateways: Gateways, scope: Scope, refund_id: str, now: datetime) -> str | None:
    link = gateways.active(scope)
    if link is None:
        raise gateways.missing(scope)
    refund_payment.carry_out(ledger, scope, link, refund_id, now)
    return None


# Each answers None when it is done, when to come again, or why it was given up.
KINDS: Mapping[str, Callable[[Ledger, Gateways, Scope, str, datetime], datetime | str | None]] = {
    "customer.sync": _customer,
    "customer.collect": _collect_again,
    "invoice.collect": _collect,
    "invoice.sync": _invoice,
    "plan.sync": _plan,
    "subscription.sync": _subscription,
    credit_invoice.WORK: _credit_notes,
    refund_payment.WORK: _refund,
}
