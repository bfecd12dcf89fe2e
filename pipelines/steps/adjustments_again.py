"""Adjustment lines made again from what they record and from the events as they are now (M3). Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from sqlalchemy.orm import Session

from billing.exact import canonical
from billing.invoice import LineDraft
from billing.line_adjustment import LineAdjustment, adjustment_again, adjustment_line
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import customers, invoices, line_adjustments, prices
from ledger.store.invoices import InvoiceRecord, LineRecord
from ledger.store.line_adjustments import AdjustmentRecord
from pipelines.steps.read_quantities import Wanted, read_many
from pipelines.steps.recorded_parts import meter_of
from pipelines.steps.standing import rated_again
from warehouse_sql.client import Warehouse
from warehouse_sql.usage import Quantity

__all__ = ["AdjustmentAgain", "adjustments_again"]


@dataclass(frozen=True)
class AdjustmentAgain:
    """A stored adjustment line, the same from the events, and what was read for it. `record` is None where another
    invoice carries the adjustment now: then the line is made from what it says itself."""

    stored: LineRecord
    line: LineDraft
    record: LineAdjustment | None
    read: Quantity | None


def adjustments_again(
    ledger: Ledger, warehouse: Warehouse, scope: Scope, invoice: InvoiceRecord
) -> tuple[AdjustmentAgain, ...]:
    """The adjustment lines of an invoice, each from the events up to its watermark. Unavailable."""
    if not invoice.adjustment_lines:
        return ()
    with ledger.read() as session:
        carried = line_adjustments.carried(session, scope, [invoice.id])[invoice.id]
    known = {adjustment_line(record).key: record for record in carried}
    return tuple(_again(ledger, warehouse, scope, line, known.get(line.key)) for line in invoice.adjustment_lines)


def _again(
    ledger: Ledger, warehouse: Warehouse, scope: Scope, stored: LineRecord, record: AdjustmentRecord | None
) -> AdjustmentAgain:
    if record is None:
        return AdjustmentAgain(stored, adjustment_again(stored), None, None)
    with ledger.read() as session:
        adjusted = invoices.get_invoice(session, scope, record.invoice_id)
        wanted = _wanted(session, scope, adjusted, record)
    answers = read_many(warehouse, wanted.values(), rollups=False)
    for error in answers.errors.values():
        raise error
    read = {line_id: answers.found[one] for line_id, one in wanted.items()}
    values = {
        line_id: Decimal(0) if one.value is None else Decimal(canonical(one.value)) for line_id, one in read.items()
    }
    with ledger.read() as session:
        known = line_adjustments.of_lines_of(session, scope, adjusted.id)
        in_force = {
            line_id: prices.price_of(session, scope, before[-1])
            for line_id, each in known.items()
            if (before := _up_to(each, record))
        }
        rated = rated_again(session, scope, adjusted, values, in_force)
    (again,) = (one for one in rated if one.line.id == record.line_id)
    counted = read.get(record.line_id)
    made = replace(
        record,
        quantity=again.quantity,
        due=again.due,
        quantity_hash=record.quantity_hash if counted is None else counted.quantity_hash,
    )
    return AdjustmentAgain(stored, adjustment_line(made), made, counted)


def _wanted(session: Session, scope: Scope, adjusted: InvoiceRecord, record: AdjustmentRecord) -> dict[str, Wanted]:
    if record.watermark is None:
        return {}
    customer = customers.get_customer(session, scope, adjusted.customer_id).external_id
    return {
        line.id: Wanted(scope, meter, line.period, record.watermark, customer)
        for line in adjusted.own_lines
        if (meter := meter_of(session, scope, line)) is not None
    }


def _up_to(adjustments: Sequence[AdjustmentRecord], record: AdjustmentRecord) -> list[AdjustmentRecord]:
    """The adjustments of a line that were there with the record."""
    if any(each.id == record.id for each in adjustments):
        return list(adjustments[: record.sequence])
    return [each for each in adjustments if each.created_at <= record.created_at]
