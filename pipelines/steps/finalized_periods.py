"""Which final invoices an event weighs in: their events can no longer be taken out, moved or added."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.instant import format_instant
from billing.meter import AggregationType, Meter
from billing.scope import Scope
from ledger.store import customers, invoices, meters
from ledger.store.invoices import InvoiceRecord

__all__ = ["EventPlace", "meters_on_final_invoices", "refuse_if_final"]


@dataclass(frozen=True)
class EventPlace:
    """Where an event counts: by name, for a customer (the caller's own id), at its timestamp."""

    event_name: str
    customer_id: str
    timestamp: datetime


def meters_on_final_invoices(session: Session, scope: Scope, place: EventPlace) -> list[Meter]:
    """The meters, in the versions of the lines, by which final invoices may have counted an event of that place."""
    return list(dict.fromkeys(meter for _, meter in _final_lines(session, scope, place)))


def refuse_if_final(session: Session, scope: Scope, place: EventPlace, not_fitting: Collection[Meter]) -> None:
    """Conflict `period_finalized` where a final invoice counts the place by a meter that is not among `not_fitting`.

    The caller holds the customer (`customers.hold_customers`), so nothing is finalized in between.
    """
    for invoice, meter in _final_lines(session, scope, place):
        if meter not in not_fitting:
            period = f"{format_instant(invoice.period.start)} to {format_instant(invoice.period.end)}"
            raise Conflict(
                "period_finalized",
                f"Invoice {invoice.number} ({invoice.id}) of {period} is final and counts such events by {meter.id}.",
                hint="A final invoice never changes: correct it by an adjustment on a later one, or by a credit note.",
            )


def _final_lines(session: Session, scope: Scope, place: EventPlace) -> Iterator[tuple[InvoiceRecord, Meter]]:
    try:
        customer = customers.get_customer(session, scope, place.customer_id)
    except NotFound:
        return
    for invoice in invoices.finalized_after(session, scope, customer.id, place.timestamp):
        for line in invoice.lines:
            if line.meter_id is None:
                continue
            meter = meters.get_meter(session, scope, line.meter_id, line.meter_version)
            # A level holds until the next one, so it weighs in periods after its own as well.
            levels = meter.aggregation.type is AggregationType.WEIGHTED_SUM and place.timestamp < line.period.end
            if meter.event_name == place.event_name and (levels or place.timestamp in line.period):
                yield invoice, meter
