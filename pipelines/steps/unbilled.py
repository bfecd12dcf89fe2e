"""What a billing day still owes: periods that have ended and have no final invoice, and why."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from ledger.db import Ledger
from ledger.store import invoices
from pipelines.steps.billing_day import Due, billing_day
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.gate_invoices import reasons_to_hold
from pipelines.steps.invoice_parts import starts_of
from pipelines.steps.isolation import Failure
from pipelines.steps.plan_prices import Catalog

__all__ = ["Unbilled", "unbilled"]


@dataclass(frozen=True)
class Unbilled:
    """`due` counts all periods of the days, `open` names those without a final invoice, each with its reasons."""

    due: int
    open: tuple[tuple[Due, tuple[str, ...]], ...]
    failures: tuple[Failure, ...]


def unbilled(ledger: Ledger, start: datetime, end: datetime, now: datetime, chosen: Chosen = EVERYTHING) -> Unbilled:
    """The open periods that end in [start, end) and have ended by now, and the open advances of first ones that begin
    there. Reads only.
    """
    with ledger.read() as session:
        day = billing_day(session, start, end, now, chosen) + starts_of(session, start, end, now, chosen)
        catalog = Catalog()
        return Unbilled(len(day.due), tuple((due, _reasons(session, due, catalog)) for due in day.open), day.failures)


def _reasons(session: Session, due: Due, catalog: Catalog) -> tuple[str, ...]:
    if due.invoice_id is None:
        return ("there is no draft",)
    return tuple(reasons_to_hold(session, due, invoices.get_invoice(session, due.scope, due.invoice_id), catalog))
