"""A draft for every period that is due: one per subscription and period, however often this is run."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import invoices, subscriptions
from pipelines.steps.billing_day import Due, billing_day, scope_of_due
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.invoice_parts import starts_of
from pipelines.steps.isolation import Failure, Worked, in_batches

__all__ = ["Drafted", "draft_invoices"]


@dataclass(frozen=True)
class Drafted:
    """`settled` counts the periods whose invoice is finalized or void already."""

    due: int
    created: tuple[str, ...]
    already_drafts: int
    settled: int
    failures: tuple[Failure, ...]


def draft_invoices(
    ledger: Ledger, start: datetime, end: datetime, now: datetime, chosen: Chosen = EVERYTHING
) -> Drafted:
    """Make the missing drafts of the periods that end in [start, end), and of the subscriptions that begin there and
    bill in advance. Raises Unavailable when the ledger is.
    """
    with ledger.read() as session:
        day = billing_day(session, start, end, now, chosen) + starts_of(session, start, end, now, chosen)
    missing = sorted((due for due in day.due if due.status is None), key=scope_of_due)

    def draft(session: Session, scope: Scope, dues: Sequence[Due]) -> Worked[str]:
        # Held, and read again: somebody may have ended a subscription since.
        held = subscriptions.hold_subscriptions(session, scope, {due.subscription.id for due in dues})
        wanted = [
            (held[due.subscription.id], due.period, due.reason)
            for due in dues
            if held[due.subscription.id].period_at(due.period.start) == due.period
        ]
        return invoices.ensure_drafts(session, scope, wanted, now), []

    made, failures = in_batches(ledger, missing, scope_of_due, draft, Due.failure, _customer_of)
    return Drafted(
        due=len(day.due),
        created=tuple(made),
        already_drafts=len(day.open) - len(missing),
        settled=len(day.due) - len(day.open),
        failures=(*day.failures, *failures),
    )


def _customer_of(due: Due) -> str:
    return due.subscription.customer_id
