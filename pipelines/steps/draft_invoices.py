"""A draft for every period that is due: one per subscription and period, however often this is run."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from ledger.db import Ledger
from ledger.store import invoices, subscriptions
from pipelines.steps.billing_day import Due, billing_day
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.invoice_parts import starts_of
from pipelines.steps.isolation import Failure, each_alone

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
    missing = [due for due in day.due if due.status is None]

    def draft(session: Session, due: Due) -> str | None:
        # Held, and read again: somebody may have ended the subscription since.
        subscription = subscriptions.hold_subscription(session, due.scope, due.subscription.id)
        if subscription.period_at(due.period.start) != due.period:
            return None
        return invoices.ensure_draft(session, due.scope, subscription, due.period, now, due.reason).id

    made, failures = each_alone(ledger, missing, draft, Due.failure)
    return Drafted(
        due=len(day.due),
        created=tuple(invoice_id for invoice_id in made if invoice_id is not None),
        already_drafts=len(day.open) - len(missing),
        settled=len(day.due) - len(day.open),
        failures=(*day.failures, *failures),
    )
