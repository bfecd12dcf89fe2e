"""Sends a billing day's finalized invoices to the payment provider, each through `sync_invoice`."""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing.errors import Unavailable
from billing.invoice import InvoiceStatus
from billing.scope import Scope
from ledger.db import Ledger
from ledger.models import Invoice
from ledger.store import connections, invoices, outbox
from ledger.store.invoice_queries import billed_between
from ledger.store.invoices import InvoiceRecord
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.connections import PROVIDER, Gateways
from pipelines.steps.drafts import draft_failure
from pipelines.steps.isolation import Failure
from pipelines.steps.sync_invoice import SyncResult, sync

__all__ = ["Sent", "sync_invoices"]

_WORKERS = 4
# After so many in a row the provider is taken to be away for that environment, and the rest waits in the outbox.
_MOST_MISSES = 3


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
    """Send what is finalized, whose period ends in [start, end), and which the provider was not told of in full."""
    with ledger.read() as session:
        unsent = [
            (scope, invoice)
            for scope, invoice in invoices.to_sync(session, start, end)
            if chosen.takes_subscription(scope, invoice.subscription_id)
        ]
        without = {
            scope: count for scope, count in _without_connection(session, start, end).items() if chosen.takes(scope)
        }
    misses: Counter[Scope] = Counter()

    def send(item: tuple[Scope, InvoiceRecord]) -> SyncResult | Failure:
        scope, invoice = item
        if misses[scope] >= _MOST_MISSES:
            return _wait(ledger, item, Unavailable("provider_unavailable", "the provider did not answer before"), now)
        try:
            result = sync(ledger, scope, gateways, invoice.id, now)
        except Unavailable as error:
            misses[scope] += 1
            return _wait(ledger, item, error, now)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this invoice's alone
            return _wait(ledger, item, error, now)
        misses[scope] = 0
        return result

    with ThreadPoolExecutor(_WORKERS) as pool:
        answers = list(pool.map(send, unsent))
    return Sent(
        tuple((scope, a) for (scope, _), a in zip(unsent, answers, strict=True) if isinstance(a, SyncResult)),
        without,
        tuple(answer for answer in answers if isinstance(answer, Failure)),
    )


def _wait(ledger: Ledger, item: tuple[Scope, InvoiceRecord], error: Exception, now: datetime) -> Failure:
    scope, invoice = item
    with ledger.begin() as session:
        outbox.enqueue(session, scope, "invoice.sync", invoice.id, now)
    return draft_failure(item, error)


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
