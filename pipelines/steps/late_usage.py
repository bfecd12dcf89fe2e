"""Events that came after their invoice was final: found, and what they make of it recorded as adjustments (M5).

Only what can have changed is looked at: the warehouse names the customers with events received since the last look, and
of these the final invoices that hold the time of such an event are read and priced again. An adjustment that nothing
final carries follows what comes later still; once it is billed, the next one is what has come to be due beyond it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Final

from sqlalchemy.orm import Session

from billing.errors import Conflict
from billing.exact import canonical
from billing.invoice import InvoiceStatus
from billing.line_adjustment import AdjustmentCause
from billing.meter import AggregationType, Meter
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import final_invoices, invoices, line_adjustments, prices, subscriptions
from ledger.store.final_invoices import FinalInvoice
from ledger.store.invoices import InvoiceRecord, LineRecord
from ledger.store.line_adjustments import AdjustmentRecord, Look
from pipelines.steps.apply_corrections import apply_corrections
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.isolation import Failure, each_alone, failure_of
from pipelines.steps.line_differences import Difference, adjustment_of
from pipelines.steps.read_quantities import Answers, Wanted, read_many
from pipelines.steps.recorded_parts import meter_of
from pipelines.steps.standing import RatedLine, rated_again
from warehouse_sql.client import Warehouse
from warehouse_sql.late_events import LateArrival, Received, count_late, late_arrivals
from warehouse_sql.reconcile import supersede_duplicates
from warehouse_sql.usage import Quantity

__all__ = ["LateUsage", "find_late_usage"]

# A transaction that finalizes dates the invoice when its run began, and may commit long after that.
_FINALIZED_UNSEEN: Final = timedelta(days=1)
_INVOICES_AT_ONCE: Final = 500
_ATTEMPTS: Final = 4
_MEANWHILE: Final = "adjusted_meanwhile"


@dataclass(frozen=True)
class LateUsage:
    """`invoices` were read again, `adjustments` are those that are new or others than before. Everything received up to
    `watermark` has been looked at."""

    watermark: datetime
    invoices: int
    adjustments: tuple[tuple[Scope, AdjustmentRecord], ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class _Touched:
    """A final invoice with what may have changed for it: event names, each with the time that the events span."""

    scope: Scope
    invoice: FinalInvoice
    arrivals: tuple[LateArrival, ...]


@dataclass(frozen=True)
class _Read:
    """A final invoice with what each metered line counts up to the watermark, and for lines that events were late for
    how many, since when."""

    touched: _Touched
    lines: Mapping[str, Wanted]
    late: Mapping[str, tuple[datetime | None, int]]


def find_late_usage(ledger: Ledger, warehouse: Warehouse, now: datetime, chosen: Chosen = EVERYTHING) -> LateUsage:
    """Look at what was received since the last look, of all chosen environments, and record what finalized lines have
    come to. What fails for one invoice is looked at again by the next run. Raises Unavailable when ledger or warehouse
    is.
    """
    apply_corrections(ledger, warehouse, now)
    watermark = supersede_duplicates(warehouse).watermark
    touched = _touched(ledger, warehouse, watermark, chosen)
    found: list[tuple[Scope, AdjustmentRecord]] = []
    failures: list[Failure] = []
    for start in range(0, len(touched), _INVOICES_AT_ONCE):
        changed, not_done = _look(ledger, warehouse, touched[start : start + _INVOICES_AT_ONCE], watermark, now)
        found += changed
        failures += not_done
    if not chosen.subscription_id:
        _note_look(ledger, chosen, {failure.scope for failure in failures}, Look(watermark, now))
    return LateUsage(watermark, len(touched), tuple(found), tuple(failures))


def _look(
    ledger: Ledger, warehouse: Warehouse, touched: Sequence[_Touched], watermark: datetime, now: datetime
) -> tuple[list[tuple[Scope, AdjustmentRecord]], list[Failure]]:
    """Reads these invoices and records what they have come to; again, a few times, those that another look or a rating
    has adjusted in between."""
    found: list[tuple[Scope, AdjustmentRecord]] = []
    failures: list[Failure] = []
    for left in reversed(range(_ATTEMPTS)):
        read, answers, unread = _read(ledger, warehouse, touched, watermark)
        changed, not_recorded = each_alone(
            ledger, read, partial(_recorded, answers=answers, watermark=watermark, now=now), _failure
        )
        found += [one for each in changed for one in each]
        rivalled = {(one.scope, one.subject) for one in not_recorded if one.code == _MEANWHILE} if left else set()
        failures += [*unread, *(one for one in not_recorded if (one.scope, one.subject) not in rivalled)]
        touched = [one for one in touched if (one.scope, one.invoice.subscription_id) in rivalled]
        if not touched:
            break
    return found, failures


def _touched(ledger: Ledger, warehouse: Warehouse, watermark: datetime, chosen: Chosen) -> list[_Touched]:
    """The final invoices that events received since the last look may weigh in, subscription by subscription."""
    with ledger.read() as session:
        ends = {scope: end for scope, end in final_invoices.latest_ends(session).items() if chosen.takes(scope)}
        since = _since(session, ends)
    if not since:
        return []
    received = Received(min(since.values()), watermark)
    arrivals: defaultdict[Scope, defaultdict[str, list[LateArrival]]] = defaultdict(lambda: defaultdict(list))
    for one in late_arrivals(warehouse, received, max(ends[scope] for scope in since)):
        if one.scope in since:
            arrivals[one.scope][one.customer_id].append(one)
    found: list[_Touched] = []
    with ledger.read() as session:
        for scope, by_customer in arrivals.items():
            first = min(one.first for each in by_customer.values() for one in each)
            for invoice in final_invoices.final_of_customers(session, scope, by_customer, first):
                if not chosen.takes_subscription(scope, invoice.subscription_id):
                    continue
                weighing = tuple(
                    one
                    for one in by_customer[invoice.customer_id]
                    if one.first < invoice.period.end and _news(one, invoice.watermark)
                )
                if weighing:
                    found.append(_Touched(scope, invoice, weighing))
    # In one order for everybody, since whoever records holds the subscription.
    return sorted(found, key=lambda one: (one.scope, one.invoice.subscription_id, one.invoice.period, one.invoice.id))


def _since(session: Session, scopes: Mapping[Scope, datetime]) -> dict[Scope, datetime]:
    """From when on arrivals may be news to a final invoice: since the last look, or since the watermark of one that was
    finalized after it."""
    looks = line_adjustments.looks(session)
    found: dict[Scope, datetime] = {}
    for scope in scopes:
        look = looks.get(scope)
        since = None if look is None else look.looked_at - _FINALIZED_UNSEEN
        known = [final_invoices.watermarks_since(session, scope, since), None if look is None else look.watermark]
        if any(known):
            found[scope] = min(moment for moment in known if moment is not None)
    return found


def _read(
    ledger: Ledger, warehouse: Warehouse, touched: Sequence[_Touched], watermark: datetime
) -> tuple[list[_Read], Answers, list[Failure]]:
    asked: list[tuple[_Touched, dict[str, Wanted], dict[str, datetime | None]]] = []
    failures: list[Failure] = []
    with ledger.read() as session:
        for one in touched:
            try:
                lines, late = _lines_of(session, one, watermark)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this invoice's alone
                failures.append(_failed(one, error))
                continue
            if late:
                asked.append((one, lines, late))
    answers = read_many(warehouse, (wanted for _, lines, _ in asked for wanted in lines.values()), rollups=False)
    read = [
        _Read(one, lines, {at: (seen, _count(warehouse, lines[at], seen, watermark)) for at, seen in late.items()})
        for one, lines, late in asked
    ]
    return read, answers, failures


def _lines_of(
    session: Session, one: _Touched, watermark: datetime
) -> tuple[dict[str, Wanted], dict[str, datetime | None]]:
    """What to read for each metered line, and up to when each line that an event may be late for has seen events."""
    invoice = invoices.get_invoice(session, one.scope, one.invoice.id)
    known = line_adjustments.of_lines_of(session, one.scope, invoice.id)
    lines: dict[str, Wanted] = {}
    late: dict[str, datetime | None] = {}
    for line in invoice.own_lines:
        meter = meter_of(session, one.scope, line)
        if meter is None:
            continue
        lines[line.id] = Wanted(one.scope, meter, line.period, watermark, one.invoice.customer_id)
        if any(_weighs(arrival, meter, line) for arrival in one.arrivals):
            late[line.id] = _seen_before(line, known.get(line.id, ()))
    return lines, late


def _news(arrival: LateArrival, watermark: datetime | None) -> bool:
    """Whether something changed that what has seen everything up to a watermark cannot know."""
    return watermark is None or arrival.changed_at > watermark


def _weighs(arrival: LateArrival, meter: Meter, line: LineRecord) -> bool:
    if arrival.event_name != meter.event_name or arrival.first >= line.period.end:
        return False
    if not _news(arrival, line.watermark):
        return False
    # A level holds until the next one, so it weighs in periods after its own as well.
    return meter.aggregation.type is AggregationType.WEIGHTED_SUM or arrival.last >= line.period.start


def _count(warehouse: Warehouse, wanted: Wanted, after: datetime | None, until: datetime) -> int:
    if after is None:
        return 0
    received = Received(after, until)
    return count_late(warehouse, wanted.scope, wanted.meter, wanted.period, wanted.customer_id, received)


def _recorded(
    session: Session, read: _Read, *, answers: Answers, watermark: datetime, now: datetime
) -> list[tuple[Scope, AdjustmentRecord]]:
    scope = read.touched.scope
    subscriptions.hold_subscription(session, scope, read.touched.invoice.subscription_id)
    invoice = invoices.get_invoice(session, scope, read.touched.invoice.id)
    if invoice.status is not InvoiceStatus.FINALIZED:
        return []
    known = line_adjustments.of_lines_of(session, scope, invoice.id)
    quantities = {line_id: _quantity(answers, wanted) for line_id, wanted in read.lines.items()}
    in_force = {line_id: prices.price_of(session, scope, each[-1]) for line_id, each in known.items()}
    values = {
        line_id: Decimal(0) if each.value is None else Decimal(canonical(each.value))
        for line_id, each in quantities.items()
    }
    changed = []
    for rated in rated_again(session, scope, invoice, values, in_force):
        look = _LineLook(
            invoice, rated, known.get(rated.line.id, ()), quantities.get(rated.line.id), read.late.get(rated.line.id)
        )
        record = _adjust(session, scope, look, watermark, now)
        if record is not None:
            changed.append((scope, record))
    return changed


@dataclass(frozen=True)
class _LineLook:
    """A line of a final invoice as it comes out now. `late` is since when late events were counted, and how many."""

    invoice: InvoiceRecord
    rated: RatedLine
    adjustments: tuple[AdjustmentRecord, ...]
    quantity: Quantity | None
    late: tuple[datetime | None, int] | None


def _adjust(
    session: Session, scope: Scope, look: _LineLook, watermark: datetime, now: datetime
) -> AdjustmentRecord | None:
    """The line's adjustment where it is another than before; what has come to nothing is taken away."""
    line, kept = look.rated.line, _kept(look.adjustments)
    grown = look.adjustments[-1] if len(kept) < len(look.adjustments) else None
    seen_before = _seen_before(line, look.adjustments)
    if look.late is not None and look.late[0] != seen_before:
        raise Conflict(_MEANWHILE, "another run has looked at this invoice", hint="Look again.")
    events = look.late[1] if look.late is not None else (0 if grown is None else grown.events)
    difference = Difference(
        invoice=look.invoice,
        rated=look.rated,
        kept=kept,
        grown=grown,
        seen_before=seen_before,
        watermark=None if look.quantity is None else watermark,
        quantity_hash=None if look.quantity is None else look.quantity.quantity_hash,
        events=events,
    )
    record = adjustment_of(session, scope, difference, now)
    return _written(session, scope, record, grown)


def _kept(adjustments: Sequence[AdjustmentRecord]) -> tuple[AdjustmentRecord, ...]:
    """The adjustments of a line that a new look leaves as they are: all but a last one for late events that nothing
    final carries, which it makes anew."""
    return tuple(adjustments[:-1] if adjustments and _grows(adjustments[-1]) else adjustments)


def _written(
    session: Session, scope: Scope, record: AdjustmentRecord, grown: AdjustmentRecord | None
) -> AdjustmentRecord | None:
    if record.amount == 0 and record.events == 0:
        if grown is not None:
            line_adjustments.remove_adjustment(session, scope, grown.id)
        return None
    if grown is not None and _same(grown, record):
        return None
    line_adjustments.put_adjustment(session, scope, record, None)
    if record.amount == 0:
        # A draft that had claimed it has no line of it any more, and must not pass for having billed what comes later.
        line_adjustments.carry(session, scope, [record.id])
    return line_adjustments.get_adjustment(session, scope, record.id)


def _same(one: AdjustmentRecord, other: AdjustmentRecord) -> bool:
    """Whether nothing has changed but the time of the look: then it stays, and with it every byte of a draft."""
    moved = {"watermark": one.watermark, "treatment": one.treatment, "state": one.state}
    return one == replace(other, **moved, held_because=one.held_because)  # type: ignore[arg-type]


def _grows(last: AdjustmentRecord) -> bool:
    return last.cause is AdjustmentCause.LATE_EVENTS and last.state.is_open


def _seen_before(line: LineRecord, adjustments: Sequence[AdjustmentRecord]) -> datetime | None:
    """Up to when events are in what was billed of a line before the adjustment that a look makes or makes anew."""
    if not adjustments:
        return line.watermark
    return adjustments[-1].seen_before if _grows(adjustments[-1]) else adjustments[-1].watermark


def _quantity(answers: Answers, wanted: Wanted) -> Quantity:
    if wanted in answers.errors:
        raise answers.errors[wanted]
    return answers.found[wanted]


def _note_look(ledger: Ledger, chosen: Chosen, failed: set[Scope], look: Look) -> None:
    def note(session: Session) -> None:
        for scope in final_invoices.latest_ends(session):
            if chosen.takes(scope) and scope not in failed:
                line_adjustments.put_look(session, scope, look)

    ledger.run(note)


def _failure(read: _Read, error: Exception) -> Failure:
    return _failed(read.touched, error)


def _failed(touched: _Touched, error: Exception) -> Failure:
    return failure_of(touched.scope, touched.invoice.subscription_id, touched.invoice.period.start, error)
