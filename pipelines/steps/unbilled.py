"""What a billing day still owes: periods that have ended and have no final invoice, and why."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from ledger.db import Ledger
from ledger.store import invoices
from pipelines.steps.billing_day import Due, billing_day, scope_of_due
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.facts import Facts
from pipelines.steps.gate_invoices import expect_reasons, reasons_to_hold
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
        left = [
            one
            for scope, dues in groupby(sorted(day.open, key=scope_of_due), scope_of_due)
            for one in _reasons(Facts(session, scope, Catalog()), list(dues))
        ]
        return Unbilled(len(day.due), tuple(left), day.failures)


def _reasons(facts: Facts, dues: Sequence[Due]) -> Iterator[tuple[Due, tuple[str, ...]]]:
    ids = {due.invoice_id for due in dues if due.invoice_id is not None}
    found = invoices.invoices_of(facts.session, facts.scope, ids)
    for invoice in found.values():
        facts.put_invoice(invoice)
    expect_reasons(facts, [due for due in dues if due.invoice_id is not None], ids)
    for due in dues:
        if due.invoice_id is None:
            yield due, ("there is no draft",)
        else:
            yield due, tuple(reasons_to_hold(facts, due, found[due.invoice_id]))
