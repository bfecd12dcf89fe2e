"""Sends a billing day's finalized invoices to the payment provider: see `send_invoices`."""

from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing.invoice import InvoiceStatus
from billing.scope import Scope
from ledger.db import Ledger
from ledger.models import Invoice
from ledger.store import connections, invoices, outbox
from ledger.store.invoice_queries import billed_between
from ledger.store.invoices import UnsentInvoice
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.connections import PROVIDER, Gateways
from pipelines.steps.drafts import draft_failure
from pipelines.steps.isolation import Failure
from pipelines.steps.send_invoices import send_invoices
from pipelines.steps.sync_invoice import SyncResult

__all__ = ["Sent", "sync_invoices"]

# Environments at once.
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
        of_scopes = pool.map(lambda scope: send_invoices(ledger, gateways, scope, by_scope[scope], now), by_scope)
        sent = dict(zip(by_scope, of_scopes, strict=True))
    results: list[tuple[Scope, SyncResult]] = []
    failures: list[Failure] = []
    for scope, invoice in unsent:
        answer = sent[scope][invoice.id]
        if isinstance(answer, SyncResult):
            results.append((scope, answer))
        else:
            failures.append(_wait(ledger, scope, invoice, answer, now))
    return Sent(tuple(results), without, tuple(failures))


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
