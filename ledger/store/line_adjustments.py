"""Adjustments of finalized lines: what each is, what carries it, and so what has become of it.

An adjustment is on the draft that has claimed it for as long as that is a draft, billed once it is final, and free
again when it is void: nothing is written here when an invoice moves on, so nothing can be forgotten. A subscription's
adjustments are written by who holds the subscription.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, delete, or_, select, update
from sqlalchemy.orm import Session, aliased

from billing.errors import NotFound
from billing.invoice import InvoiceStatus
from billing.line_adjustment import AdjustmentCause, AdjustmentState, LineAdjustment, Treatment
from billing.period import Period
from billing.scope import Scope
from ledger.models import CreditNote, Environment, Invoice, LateLook
from ledger.models import LineAdjustment as Stored
from ledger.page import DEFAULT_LIMIT, Page, paginate, write_cursor
from ledger.store.rows import in_chunks, in_scope, scope_of, scoped, upsert

__all__ = [
    "AdjustmentRecord",
    "Look",
    "adjustments_of",
    "carried",
    "carry",
    "claim",
    "cursor_after",
    "get_adjustment",
    "list_adjustments",
    "looks",
    "of_lines_of",
    "pending_of",
    "put_adjustment",
    "put_look",
    "remove_adjustment",
    "set_treatment",
    "waiting",
    "waiting_of",
]

_NOT_WRITTEN = {"period", "state", "treatment", "carried_by", "credit_note_id"}
_Original, _Carrier = aliased(Invoice), aliased(Invoice)


@dataclass(frozen=True, kw_only=True)
class AdjustmentRecord(LineAdjustment):
    """The `sequence`-th adjustment of a line of the finalized invoice `invoice_id`. It covers the events received in
    (`seen_before`, `watermark`], of which `events` fit the meter, counted or not.

    `treatment` is its own or its environment's. `held_because` says why another way than that one was taken. `person`
    and `reason` are of a rating again.
    """

    customer_id: str
    subscription_id: str
    invoice_id: str
    line_id: str
    sequence: int
    cause: AdjustmentCause
    seen_before: datetime | None
    events: int
    treatment: Treatment
    held_because: str | None
    person: str | None
    reason: str | None
    carried_by: str | None
    credit_note_id: str | None
    state: AdjustmentState
    created_at: datetime


@dataclass(frozen=True)
class Look:
    """Events received up to `watermark` have been looked at for every invoice that was final at `looked_at`."""

    watermark: datetime
    looked_at: datetime


def claim(session: Session, scope: Scope, drafts: Sequence[tuple[str, str]]) -> dict[str, tuple[AdjustmentRecord, ...]]:
    """Invoice id -> the adjustments that each draft carries, with those that it takes on now. `drafts` are
    (subscription id, invoice id); of several drafts of a subscription the first one takes what waits.

    Two transactions that claim for two drafts at once: one gets each adjustment. A draft that has claimed it keeps it.
    """
    by_draft = carried(session, scope, [invoice_id for _, invoice_id in drafts])
    free = _free_of(session, scope, {subscription_id for subscription_id, _ in drafts})
    for subscription_id, invoice_id in drafts:
        taken = tuple(one for one in free.pop(subscription_id, ()) if _take(session, scope, one, invoice_id))
        if taken:
            by_draft |= carried(session, scope, [invoice_id])
    return by_draft


def carried(session: Session, scope: Scope, invoice_ids: Collection[str]) -> dict[str, tuple[AdjustmentRecord, ...]]:
    """Invoice id -> the adjustments that it carries, in the order of its lines; none where it carries none."""
    found: defaultdict[str, list[AdjustmentRecord]] = defaultdict(list)
    for some in in_chunks(invoice_ids):
        for record in _read(session, _rows(scope).where(Stored.carried_by.in_(some))):
            if record.state is not AdjustmentState.EVEN:
                found[record.carried_by or ""].append(record)
    return {invoice_id: _in_order(found[invoice_id]) for invoice_id in invoice_ids}


def of_lines_of(session: Session, scope: Scope, invoice_id: str) -> dict[str, tuple[AdjustmentRecord, ...]]:
    """Line id -> the adjustments of a finalized invoice's lines, the first first."""
    found: defaultdict[str, list[AdjustmentRecord]] = defaultdict(list)
    for record in _read(session, _rows(scope).where(Stored.invoice_id == invoice_id)):
        found[record.line_id].append(record)
    return {line_id: _in_order(records) for line_id, records in found.items()}


def waiting_of(session: Session, scope: Scope, subscription_id: str) -> tuple[AdjustmentRecord, ...]:
    """What the next invoice of a subscription would take on now; what a draft has taken on is none of it."""
    return _free_of(session, scope, {subscription_id}).get(subscription_id, ())


def pending_of(session: Session, scope: Scope, subscription_id: str) -> tuple[AdjustmentRecord, ...]:
    """What nothing carries of a subscription, however it is to be billed."""
    rows = _rows(scope).where(Stored.subscription_id == subscription_id, _is_free())
    return _in_order([one for one in _read(session, rows) if one.state is AdjustmentState.PENDING])


def cursor_after(record: AdjustmentRecord) -> str:
    """The cursor of `list_adjustments` from which the record is the last one that was seen."""
    return write_cursor(record.created_at, record.id)


def waiting(session: Session) -> list[tuple[Scope, AdjustmentRecord]]:
    """Adjustments of all environments that nothing carries, by subscription and age."""
    rows = _columns().where(_is_free())
    found = [(scope_of(row[0]), _record(row)) for row in session.execute(rows)]
    kept = [one for one in found if one[1].state is AdjustmentState.PENDING]
    return sorted(kept, key=lambda one: (one[0], one[1].subscription_id, one[1].created_at, one[1].id))


def get_adjustment(session: Session, scope: Scope, adjustment_id: str) -> AdjustmentRecord:
    """NotFound `adjustment_not_found`."""
    found = _read(session, _rows(scope).where(Stored.id == adjustment_id))
    if not found:
        raise NotFound("adjustment_not_found", "no such adjustment", field="adjustment_id")
    return found[0]


def adjustments_of(session: Session, scope: Scope, ids: Collection[str]) -> list[AdjustmentRecord]:
    """Those of these ids that there are."""
    return [one for some in in_chunks(ids) for one in _read(session, _rows(scope).where(Stored.id.in_(some)))]


def list_adjustments(
    session: Session,
    scope: Scope,
    *,
    customer_id: str | None = None,
    subscription_id: str | None = None,
    meter_id: str | None = None,
    invoice_id: str | None = None,
    with_events: bool = False,
    since: datetime | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page[AdjustmentRecord]:
    """Adjustments, newest first; our ids, `invoice_id` is that of the adjusted invoice. `with_events` leaves out those
    that no event fell to, `since` those whose events were all received before.
    """
    wanted = {
        Stored.customer_id: customer_id,
        Stored.subscription_id: subscription_id,
        Stored.meter_id: meter_id,
        Stored.invoice_id: invoice_id,
    }
    rows = select(Stored).where(in_scope(Stored, scope))
    rows = rows.where(*(column == value for column, value in wanted.items() if value is not None))
    if with_events:
        rows = rows.where(Stored.events > 0)
    if since is not None:
        rows = rows.where(Stored.watermark >= since)
    page = paginate(session, rows, Stored.created_at, Stored.id, lambda row: row.id, cursor, limit)
    known = {record.id: record for record in _read(session, _rows(scope).where(Stored.id.in_(page.items)))}
    return Page([known[adjustment_id] for adjustment_id in page.items], page.next_cursor)


def put_adjustment(session: Session, scope: Scope, record: AdjustmentRecord, treatment: Treatment | None) -> None:
    """Writes an adjustment, over an earlier form of the same id but for what carries it; `treatment` is its own, None
    for its environment's. The caller holds the subscription and has seen that nothing final carries it.
    """
    values = {name: value for name, value in vars(record).items() if name not in _NOT_WRITTEN}
    values |= {"period_start": record.period.start, "period_end": record.period.end, "cause": record.cause.value}
    values["treatment"] = None if treatment is None else treatment.value
    upsert(session, Stored, scoped(scope, **values))


def remove_adjustment(session: Session, scope: Scope, adjustment_id: str) -> None:
    """Takes away one that has come to nothing; the caller holds the subscription and has seen that it is open."""
    session.execute(delete(Stored).where(in_scope(Stored, scope), Stored.id == adjustment_id))


def carry(
    session: Session,
    scope: Scope,
    adjustment_ids: Collection[str],
    *,
    invoice_id: str | None = None,
    credit_note_id: str | None = None,
) -> None:
    """Has an invoice or a credit note carry adjustments that nothing carries; the caller holds their subscription."""
    these = and_(in_scope(Stored, scope), Stored.id.in_(list(adjustment_ids)))
    values = {"carried_by": invoice_id, "credit_note_id": credit_note_id, "held_because": None}
    session.execute(update(Stored).where(these).values(values))


def set_treatment(session: Session, scope: Scope, adjustment_id: str, treatment: Treatment | None, why: str) -> None:
    """Sends an open adjustment another way than its environment's, or None the same, and says why it was held."""
    this = and_(in_scope(Stored, scope), Stored.id == adjustment_id)
    values: dict[str, Any] = {"held_because": why}
    if treatment is not None:
        values["treatment"] = treatment.value
    session.execute(update(Stored).where(this).values(values))


def looks(session: Session) -> dict[Scope, Look]:
    """How far each environment has been looked at; those that have been."""
    return {scope_of(row): Look(row.watermark, row.looked_at) for row in session.scalars(select(LateLook))}


def put_look(session: Session, scope: Scope, look: Look) -> None:
    """Moves an environment's look forwards; an older one changes nothing."""
    known = session.scalar(select(LateLook).where(in_scope(LateLook, scope)).with_for_update())
    if known is None or known.watermark < look.watermark:
        upsert(session, LateLook, scoped(scope, watermark=look.watermark, looked_at=look.looked_at))


def _free_of(
    session: Session, scope: Scope, subscription_ids: Collection[str]
) -> dict[str, tuple[AdjustmentRecord, ...]]:
    """Subscription id -> what waits for its next invoice and no draft has claimed."""
    found: defaultdict[str, list[AdjustmentRecord]] = defaultdict(list)
    for some in in_chunks(subscription_ids):
        for record in _read(session, _rows(scope).where(Stored.subscription_id.in_(some), _is_free())):
            if record.state is AdjustmentState.PENDING and record.treatment.waits_for_next_invoice(record.amount):
                found[record.subscription_id].append(record)
    return {subscription_id: _in_order(records) for subscription_id, records in found.items()}


def _take(session: Session, scope: Scope, one: AdjustmentRecord, invoice_id: str) -> bool:
    """Whether the draft got it: a rival's claim, once committed, is seen by the condition."""
    same = Stored.carried_by.is_(None) if one.carried_by is None else Stored.carried_by == one.carried_by
    this = and_(in_scope(Stored, scope), Stored.id == one.id, same)
    taken = session.execute(update(Stored).where(this).values(carried_by=invoice_id).returning(Stored.id))
    return taken.scalar_one_or_none() is not None


def _columns() -> Select[*tuple[Any, ...]]:
    """Adjustments with what decides their state."""
    return (
        select(Stored, _Original.status, _Carrier.status, CreditNote.status, Environment.late_events)
        .join(Environment, and_(Environment.tenant_id == Stored.tenant_id, Environment.id == Stored.environment_id))
        .join(_Original, _same(_Original, Stored.invoice_id))
        .outerjoin(_Carrier, _same(_Carrier, Stored.carried_by))
        .outerjoin(CreditNote, _same(CreditNote, Stored.credit_note_id))
    )


def _same(model: Any, column: Any) -> ColumnElement[bool]:
    scope = and_(model.tenant_id == Stored.tenant_id, model.environment_id == Stored.environment_id)
    return and_(scope, model.id == column)


def _rows(scope: Scope) -> Select[*tuple[Any, ...]]:
    return _columns().where(in_scope(Stored, scope))


def _is_free() -> ColumnElement[bool]:
    by_invoice = and_(Stored.carried_by.is_not(None), _Carrier.status != InvoiceStatus.VOID.value)
    by_note = and_(Stored.credit_note_id.is_not(None), CreditNote.status != "void")
    return ~or_(by_invoice, by_note)


def _read(session: Session, rows: Select[*tuple[Any, ...]]) -> list[AdjustmentRecord]:
    return [_record(row) for row in session.execute(rows)]


def _in_order(records: Sequence[AdjustmentRecord]) -> tuple[AdjustmentRecord, ...]:
    """By the period that they belong to, then as they were found."""
    return tuple(sorted(records, key=lambda one: (one.period, one.line_id, one.sequence)))


def _state(amount: Decimal, original: str, carrier: str | None, note: str | None) -> AdjustmentState:
    if not amount:
        return AdjustmentState.EVEN
    if carrier == InvoiceStatus.FINALIZED.value:
        return AdjustmentState.BILLED
    if note == "issued":
        return AdjustmentState.CREDITED
    if original == InvoiceStatus.VOID.value:
        return AdjustmentState.WITHDRAWN
    return AdjustmentState.ON_DRAFT if carrier == InvoiceStatus.DRAFT.value else AdjustmentState.PENDING


def _record(found: Row[*tuple[Any, ...]]) -> AdjustmentRecord:
    row, original, carrier, note, late_events = found
    return AdjustmentRecord(
        id=row.id,
        display_name=row.display_name,
        period=Period(row.period_start, row.period_end),
        price_id=row.price_id,
        price_version=row.price_version,
        meter_id=row.meter_id,
        meter_version=row.meter_version,
        quantity_before=row.quantity_before,
        quantity=row.quantity,
        billed=row.billed,
        due=row.due,
        watermark=row.watermark,
        quantity_hash=row.quantity_hash,
        customer_id=row.customer_id,
        subscription_id=row.subscription_id,
        invoice_id=row.invoice_id,
        line_id=row.line_id,
        sequence=row.sequence,
        cause=AdjustmentCause(row.cause),
        seen_before=row.seen_before,
        events=row.events,
        treatment=Treatment(row.treatment or late_events),
        held_because=row.held_because,
        person=row.person,
        reason=row.reason,
        carried_by=row.carried_by,
        credit_note_id=row.credit_note_id,
        state=_state(row.due - row.billed, original, carrier, note),
        created_at=row.created_at,
    )
