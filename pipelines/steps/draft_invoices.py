"""A draft for every period that is due: one per subscription and period, however often this is run."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from ledger.db import Ledger
from ledger.store import invoices
from pipelines.steps.billing_day import Due, billing_day
from pipelines.steps.chosen import EVERYTHING, Chosen
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
    """Make the missing drafts of the periods that end in [start, end). Raises Unavailable when the ledger is."""
    with ledger.read() as session:
        day = billing_day(session, start, end, now, chosen)
    missing = [due for due in day.due if due.status is None]

    def draft(session: Session, due: Due) -> str:
        return invoices.ensure_draft(session, due.scope, due.subscription, due.period, now).id

    created, failures = each_alone(ledger, missing, draft, Due.failure)
    return Drafted(
        due=len(day.due),
        created=tuple(created),
        already_drafts=len(day.open) - len(missing),
        settled=len(day.due) - len(day.open),
        failures=(*day.failures, *failures),
    )
