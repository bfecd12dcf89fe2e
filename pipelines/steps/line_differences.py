"""A difference of a finalized line as it is recorded: on top of what has been billed of the line before."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from billing.line_adjustment import AdjustmentCause, AdjustmentState, Treatment
from billing.scope import Scope
from ledger.ids import new_id
from ledger.store import tenants
from ledger.store.invoices import InvoiceRecord
from ledger.store.line_adjustments import AdjustmentRecord
from pipelines.steps.standing import RatedLine, billed_of

__all__ = ["Difference", "adjustment_of"]


@dataclass(frozen=True)
class Difference:
    """A line as it comes out now. `kept` are its adjustments that stay as they are; `grown` is the last one, where the
    difference is made in its place. `events` that fit the meter were received in (`seen_before`, `watermark`].
    """

    invoice: InvoiceRecord
    rated: RatedLine
    kept: Sequence[AdjustmentRecord]
    grown: AdjustmentRecord | None
    seen_before: datetime | None
    watermark: datetime | None
    quantity_hash: str | None
    events: int


def adjustment_of(
    session: Session,
    scope: Scope,
    difference: Difference,
    now: datetime,
    *,
    cause: AdjustmentCause = AdjustmentCause.LATE_EVENTS,
    treatment: Treatment | None = None,
    person: str | None = None,
    reason: str | None = None,
) -> AdjustmentRecord:
    """The difference as an adjustment that nothing carries yet, or what carries the one that it grows from."""
    invoice, rated, grown = difference.invoice, difference.rated, difference.grown
    line, kept = rated.line, tuple(difference.kept)
    return AdjustmentRecord(
        id=new_id("adj", now) if grown is None else grown.id,
        display_name=f"{line.display_name}, adjustment of {invoice.number}",
        period=line.period,
        price_id=rated.price.id,
        price_version=rated.price.version,
        meter_id=line.meter_id,
        meter_version=line.meter_version,
        quantity_before=kept[-1].quantity if kept else line.quantity,
        quantity=rated.quantity,
        billed=billed_of(line, kept),
        due=rated.due,
        watermark=difference.watermark,
        quantity_hash=difference.quantity_hash,
        customer_id=invoice.customer_id,
        subscription_id=invoice.subscription_id or "",
        invoice_id=invoice.id,
        line_id=line.id,
        sequence=len(kept) + 1,
        cause=cause,
        seen_before=difference.seen_before,
        events=difference.events,
        treatment=treatment or tenants.get_environment(session, scope).late_events,
        held_because=None,
        person=person,
        reason=reason,
        carried_by=None if grown is None else grown.carried_by,
        credit_note_id=None if grown is None else grown.credit_note_id,
        state=AdjustmentState.PENDING,
        created_at=now if grown is None else grown.created_at,
    )
