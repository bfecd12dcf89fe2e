"""Sends a billing day's finalized invoices to the payment provider: through `send_together`, and `sync_invoice`."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing.errors import TallyError, Unavailable
from billing.invoice import InvoiceStatus
from billing.scope import Scope
from ledger.db import Ledger
from ledger.models import Invoice
from ledger.store import connections, invoices, outbox
from ledger.store.invoice_queries import billed_between
from ledger.store.invoices import UnsentInvoice
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.connections import PROVIDER, Gateways, Link
from pipelines.steps.drafts import draft_failure
from pipelines.steps.isolation import Failure
from pipelines.steps.send_together import MOST_AT_ONCE, Misses, send_together
from pipelines.steps.sync_invoice import SyncResult, sync

__all__ = ["Sent", "sync_invoices"]

log = logging.getLogger(__name__)

# Environments at once; of each as many calls as its pace makes use of.
_SCOPES = 4


@dataclass(frozen=True)
class Sent:
    """`without_connection` counts the finalized invoices of environments that have no active connection: nothing to do.

    `failures` got no answer; they are in the outbox and tried again by the worker of the API or by the sweep.
    """

    results: tuple[tuple[Scope, SyncResult], ...]
    without_connection: Mapping[Scope, int]
    failures: tuple[Failure, ...]


def sync_invoices(
    ledger: Ledger, gateways: Gateways, start: datetime, end: datetime, now: datetime, chosen: Chosen = EVERYTHING
) -> Sent:
    """Send what is finalized, whose period ends in [start, end), and which the provider was not told of in full.

    Environments at the same time, of each several invoices, of a customer one after the other.
    """
    with ledger.read() as session:
        unsent = [
            (scope, invoice)
            for scope, invoice in invoices.to_sync(session, start, end)
            if chosen.takes_subscription(scope, invoice.subscription_id)
        ]
        without = {
            scope: count for scope, count in _without_connection(session, start, end).items() if chosen.takes(scope)
        }
    by_scope: defaultdict[Scope, list[UnsentInvoice]] = defaultdict(list)
    for scope, invoice in unsent:
        by_scope[scope].append(invoice)
    with ThreadPoolExecutor(_SCOPES) as pool:
        of_scopes = pool.map(lambda scope: _send_all(ledger, gateways, scope, by_scope[scope], now), by_scope)
        answers = [(scope, answer) for scope, some in zip(by_scope, of_scopes, strict=True) for answer in some]
    return Sent(
        tuple((scope, answer) for scope, answer in answers if isinstance(answer, SyncResult)),
        without,
        tuple(answer for _, answer in answers if isinstance(answer, Failure)),
    )


def _send_all(
    ledger: Ledger, gateways: Gateways, scope: Scope, unsent: Sequence[UnsentInvoice], now: datetime
) -> list[SyncResult | Failure]:
    """The invoices of one environment: together where it is their first try, and then one by one what is left."""
    misses = Misses()
    link = _link(gateways, scope)
    sent: dict[str, SyncResult | Failure] = {}
    with ThreadPoolExecutor(1 if link is None else link.calls_at_once) as pool:
        if link is not None and link.sends_invoices:
            try:
                for start in range(0, len(unsent), MOST_AT_ONCE):
                    some = unsent[start : start + MOST_AT_ONCE]
                    sent |= send_together(ledger, scope, link, some, pool, misses, now)
            except Exception as error:  # noqa: BLE001 - one by one each says for itself what is wrong
                told = error.code if isinstance(error, TallyError) else type(error).__name__
                log.warning("invoices of environment %s are sent one by one: %s", scope.environment_id, told)

        def send(of_customer: Sequence[UnsentInvoice]) -> list[tuple[str, SyncResult | Failure]]:
            return [(each.id, _send(ledger, gateways, scope, each, misses, now)) for each in of_customer]

        by_customer: defaultdict[str, list[UnsentInvoice]] = defaultdict(list)
        for invoice in unsent:
            if invoice.id not in sent:
                by_customer[invoice.customer_id].append(invoice)
        for pairs in pool.map(send, by_customer.values()):
            sent |= dict(pairs)
    return [sent[invoice.id] for invoice in unsent]


def _link(gateways: Gateways, scope: Scope) -> Link | None:
    """None also where it cannot be opened: then each invoice says why, and waits."""
    try:
        return gateways.active(scope)
    except TallyError:
        return None


def _send(
    ledger: Ledger, gateways: Gateways, scope: Scope, invoice: UnsentInvoice, misses: Misses, now: datetime
) -> SyncResult | Failure:
    if misses.away:
        away = Unavailable("provider_unavailable", "the provider did not answer before")
        return _wait(ledger, scope, invoice, away, now)
    try:
        result = sync(ledger, scope, gateways, invoice.id, now)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this invoice's alone
        if isinstance(error, Unavailable):
            misses.note(answered=False)
        return _wait(ledger, scope, invoice, error, now)
    misses.note(answered=True)
    return result


def _wait(ledger: Ledger, scope: Scope, invoice: UnsentInvoice, error: Exception, now: datetime) -> Failure:
    with ledger.begin() as session:
        outbox.enqueue(session, scope, "invoice.sync", invoice.id, now)
    return draft_failure((scope, invoice), error)


def _without_connection(session: Session, start: datetime, end: datetime) -> dict[Scope, int]:
    counts = select(Invoice.tenant_id, Invoice.environment_id, func.count()).where(
        billed_between(start, end), Invoice.status == InvoiceStatus.FINALIZED.value
    )
    finalized = {
        Scope(tenant_id, environment_id): number
        for tenant_id, environment_id, number in session.execute(
            counts.group_by(Invoice.tenant_id, Invoice.environment_id)
        )
    }
    return {
        scope: number for scope, number in finalized.items() if connections.active(session, scope, PROVIDER) is None
    }
