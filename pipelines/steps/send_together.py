"""Sends many finalized invoices of one environment at once: the first try of each, where nothing is unusual about it.

What `sync_invoice` does for one is done here for a batch: the intentions in one transaction, the drafts, what they are
called in one transaction, lines, comparison and finalizing, the outcome in one transaction. Only what nobody has tried
to send before is taken, so that no answer can be a repetition. Whatever fails or is unclear is left as it is, for
`sync_invoice`, which finds the same mappings and sends under the same keys (promise S1).
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from billing.errors import Unavailable
from billing.ports import ProviderInvoice
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, invoices, mappings, outbox
from ledger.store.invoices import InvoiceRecord, UnsentInvoice
from ledger.store.mappings import MappingRecord
from pipelines.steps import collect_invoice, invoice_calls, invoice_draft, sync_customer
from pipelines.steps.connections import PROVIDER, Link
from pipelines.steps.follow_invoice import ENTITY, book, books, is_news, says_all, seen_detail
from pipelines.steps.sync_invoice import SyncResult, result_of, why_not

__all__ = ["MOST_AT_ONCE", "Misses", "send_together"]

# Bounds what a crash leaves to be looked at again, and how long a transaction holds rows.
MOST_AT_ONCE = 100
# After so many in a row the provider is taken to be away.
_MOST_MISSES = 3

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Misses:
    """How many calls in a row the provider did not answer. Safe to share between threads."""

    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def away(self) -> bool:
        """Whether it is no use to go on for now."""
        return self._count >= _MOST_MISSES

    def note(self, answered: bool) -> None:
        with self._lock:
            self._count = 0 if answered else self._count + 1


@dataclass(frozen=True)
class _Sending:
    invoice: InvoiceRecord
    mapping: MappingRecord


@dataclass(frozen=True)
class _Sent:
    sending: _Sending
    seen: ProviderInvoice


def send_together(
    ledger: Ledger,
    scope: Scope,
    link: Link,
    unsent: Sequence[UnsentInvoice],
    pool: Executor,
    misses: Misses,
    now: datetime,
) -> dict[str, SyncResult]:
    """What was sent, by the invoice's id; the others are for `sync_invoice.sync`. At most MOST_AT_ONCE of them."""
    known = _customers(ledger, scope, link, unsent, pool, misses, now)
    begun = ledger.run(lambda session: _begin(session, scope, link, [each.id for each in unsent], known, now))
    made = _each(begun, lambda each: invoice_calls.make(link, each.invoice, each.mapping).id, pool, misses)
    created = ledger.run(
        lambda session: mappings.record_created(
            session, scope, {each.mapping.id: draft_id for each, draft_id in made}, now
        )
    )
    drafts = [_Sending(each.invoice, created[each.mapping.id]) for each, _ in made if each.mapping.id in created]
    sent = [_Sent(each, seen) for each, seen in _each(drafts, lambda each: _finish(link, each), pool, misses) if seen]
    done = ledger.run(lambda session: _record(session, scope, link, sent, now))
    return {mapping.entity_id: result_of(mapping, "synced") for mapping in done}


def _customers(
    ledger: Ledger,
    scope: Scope,
    link: Link,
    unsent: Sequence[UnsentInvoice],
    pool: Executor,
    misses: Misses,
    now: datetime,
) -> dict[str, str]:
    """The provider's ids of the customers, by ours; those that are not there yet are made first."""
    ids = {each.customer_id for each in unsent}
    with ledger.read() as session:
        there = mappings.of_entities(session, scope, sync_customer.ENTITY, ids, link.connection.id)
    known = {each.entity_id: each.provider_id for each in there if each.provider_id is not None}

    def ensure(customer_id: str) -> str:
        return sync_customer.ensure_customer(ledger, scope, link, customer_id, now)

    missing = sorted(ids - known.keys())
    made = zip(missing, pool.map(lambda each: _tried(ensure, each, misses), missing), strict=True)
    return known | {customer_id: provider_id for customer_id, provider_id in made if provider_id is not None}


def _begin(
    session: Session, scope: Scope, link: Link, ids: Collection[str], customers: dict[str, str], now: datetime
) -> list[_Sending]:
    """Writes down what will be asked for. Held together with the mappings: a payment link, an offline payment or a
    credit note for one of the invoices is either seen here, or sees the mapping."""
    held = invoices.hold_invoices(session, scope, ids)
    tried = {mapping.entity_id for mapping in mappings.of_entities(session, scope, ENTITY, ids)}
    plain = invoices.untouched(session, scope, ids) - tried
    wanted = {
        invoice.id: invoice
        for invoice in held.values()
        if invoice.id in plain and invoice.customer_id in customers and why_not(link, invoice) is None
    }
    details: dict[str, dict[str, Any]] = {}
    for invoice in wanted.values():
        form = invoice_draft.natural_form(invoice)
        request = invoice_draft.request_of(scope, invoice, customers[invoice.customer_id], link.days_until_due, form)
        details[invoice.id] = {
            "request": request,
            "intended_at": now.isoformat(),
            "account": link.connection.account_id,
        }
    new = mappings.intend_new(session, scope, link.connection.id, ENTITY, details, now)
    return [_Sending(wanted[mapping.entity_id], mapping) for mapping in new]


def _finish(link: Link, draft: _Sending) -> ProviderInvoice | None:
    """Lines, comparison, finalizing. None where what came of it has to be looked at with care."""
    invoice, mapping = draft.invoice, draft.mapping
    seen: ProviderInvoice | None = None
    for key, lines in invoice_calls.missing_lines(invoice, mapping, ()):
        seen = link.gateway.add_lines(mapping.provider_id or "", invoice.currency, lines, key)
    if seen is None:
        return None
    lines_there = invoice_calls.lines_of(link, seen)
    if invoice_draft.difference(invoice, mapping.detail["request"], seen, lines_there) is not None:
        return None
    seen = invoice_calls.finalize(link, mapping, link.provider_collects)
    if seen.total != invoice.amount_due:
        return None
    seen = invoice_calls.start_collecting(link, invoice, mapping, seen)
    return seen if says_all(seen) else None


def _record(session: Session, scope: Scope, link: Link, sent: Sequence[_Sent], now: datetime) -> list[MappingRecord]:
    links = {each.sending.invoice.id: (each.seen.hosted_url, each.seen.pdf_url) for each in sent}
    invoices.set_links_of(session, scope, links)
    for each in sent:
        payments = each.seen.payments or ()
        if books(each.seen, payments) is not None:
            book(session, scope, link, each.sending.invoice.id, each.seen, payments, now)
    by_id = {each.sending.mapping.id: each for each in sent}
    details = {}
    for held in mappings.hold_undone(session, scope, by_id):
        each = by_id[held.id]
        # A webhook may have brought a newer look meanwhile.
        seen = seen_detail(each.seen) if is_news(held, each.seen) else {}
        begun = collect_invoice.beginning(link, each.sending.invoice, now)
        details[held.id] = {**held.detail, **seen, **begun}
        if "retry" in begun:
            outbox.enqueue(session, scope, "invoice.collect", held.entity_id, now)
    done = list(mappings.record_done(session, scope, details, now).values())
    told = [(mapping.entity_id, {"stripe_invoice_id": mapping.provider_id}) for mapping in done]
    audit.write_many(session, scope, PROVIDER, "invoice.synced", ENTITY, told, now)
    return done


def _each(
    sendings: Sequence[_Sending], call: Callable[[_Sending], R], pool: Executor, misses: Misses
) -> list[tuple[_Sending, R]]:
    """`call` for all, as many at once as the pool takes, but those of one customer one after the other: Stripe locks a
    customer for each. What failed is left out."""
    by_customer: defaultdict[str, list[_Sending]] = defaultdict(list)
    for each in sendings:
        by_customer[each.invoice.customer_id].append(each)

    def one_by_one(some: Iterable[_Sending]) -> list[tuple[_Sending, R]]:
        tried = [(each, _tried(call, each, misses)) for each in some]
        return [(each, answer) for each, answer in tried if answer is not None]

    return [pair for some in pool.map(one_by_one, by_customer.values()) for pair in some]


def _tried(call: Callable[[T], R], item: T, misses: Misses) -> R | None:
    """None where it failed: `sync_invoice` will say how, as it comes to the same call."""
    if misses.away:
        return None
    try:
        answer = call(item)
    except Unavailable:
        misses.note(answered=False)
        return None
    except Exception:  # noqa: BLE001 - whatever it is, it is this invoice's alone
        return None
    misses.note(answered=True)
    return answer
