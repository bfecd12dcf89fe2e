"""Reads and records the billable quantities of a billing day, with everything that they were read from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy.orm import Session

from billing.exact import canonical
from billing.meter import Meter
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import customers, quantities
from ledger.store.quantities import QuantityRecord
from pipelines.steps.apply_corrections import apply_corrections
from pipelines.steps.billing_day import Due, billing_day, hold_open
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.isolation import Failure, Worked, apart, in_batches
from pipelines.steps.plan_prices import Catalog, Part
from pipelines.steps.read_quantities import Ahead, Wanted, reading_ahead
from warehouse_sql.client import Warehouse
from warehouse_sql.reconcile import supersede_duplicates
from warehouse_sql.usage import Quantity

__all__ = ["Collected", "collect_quantities", "quantity_record"]


@dataclass(frozen=True)
class Collected:
    """`due` periods, of which `settled` have a final invoice and were left alone; `quantities` read in `queries`.

    `changed` counts the quantities that were not recorded like that before.
    """

    due: int
    settled: int
    quantities: int
    changed: int
    queries: int
    watermark: datetime
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class _Reading:
    """A period with what is wanted for each of its metered parts."""

    due: Due
    wanted: tuple[tuple[Part, Meter, Wanted], ...]


def collect_quantities(
    ledger: Ledger, warehouse: Warehouse, start: datetime, end: datetime, now: datetime, chosen: Chosen = EVERYTHING
) -> Collected:
    """Read and record the quantities of the periods that end in [start, end) and have no final invoice.

    Finishes corrections, reconciles, and reads what was received up to there, so that no duplicate can be in a quantity
    (E3) and the same quantity can be read again later. A quantity that is recorded like that already is not written
    again: its watermark stays, and with it every byte of the draft. Raises Unavailable when warehouse or ledger is.
    """
    apply_corrections(ledger, warehouse, now)
    watermark = supersede_duplicates(warehouse).watermark
    with ledger.read() as session:
        day = billing_day(session, start, end, now, chosen)
        readings, failures = _readings(session, day.open, watermark)
    with reading_ahead(warehouse, (one for r in readings for _, _, one in r.wanted), rollups=True) as ahead:

        def record(session: Session, scope: Scope, some: Sequence[_Reading]) -> Worked[int]:
            return _record(session, scope, some, ahead, now)

        def prepare(some: Sequence[_Reading]) -> None:
            ahead.await_for(one for reading in some for _, _, one in reading.wanted)

        changed, not_recorded = in_batches(ledger, readings, _scope_of, record, _failure, _customer_of, prepare)
    return Collected(
        due=len(day.due),
        settled=len(day.due) - len(day.open),
        quantities=len(ahead.found),
        changed=sum(changed),
        queries=ahead.queries,
        watermark=watermark,
        failures=(*day.failures, *failures, *not_recorded),
    )


def quantity_record(due: Due, part: Part, meter: Meter, read: Quantity, now: datetime) -> QuantityRecord:
    """What was read for a part of a period, as it is recorded and priced."""
    # A maximum, minimum, average or latest of nothing is no number; there is nothing to charge for it.
    value = Decimal(0) if read.value is None else Decimal(canonical(read.value))
    return QuantityRecord(
        subscription_id=due.subscription.id,
        period_start=due.period.start,
        period_end=due.period.end,
        segment_start=part.period.start,
        segment_end=part.period.end,
        price_id=part.price.record.id,
        price_version=part.price.record.version,
        meter_id=meter.id,
        meter_version=meter.version,
        quantity=value,
        events=read.events,
        quantity_hash=read.quantity_hash,
        watermark=read.watermark,
        builds=read.builds,
        computed_at=now,
    )


def _readings(
    session: Session, open_periods: Sequence[Due], watermark: datetime
) -> tuple[list[_Reading], list[Failure]]:
    catalog = Catalog()
    names = _external_ids(session, open_periods)
    readings, failures = [], []
    for due in open_periods:
        try:
            customer = names[due.scope, due.subscription.customer_id]
            wanted = [
                (part, part.price.meter, Wanted(due.scope, part.price.meter, part.period, watermark, customer))
                for part in catalog.parts_of(session, due)
                if part.price.meter is not None
            ]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this period's alone
            failures.append(due.failure(error))
        else:
            readings.append(_Reading(due, tuple(wanted)))
    # As they are read, so that the first are recorded while the others are.
    readings.sort(key=lambda one: (one.due.scope, names[one.due.scope, one.due.subscription.customer_id]))
    return readings, failures


def _external_ids(session: Session, periods: Sequence[Due]) -> dict[tuple[Scope, str], str]:
    by_scope: dict[Scope, set[str]] = {}
    for due in periods:
        by_scope.setdefault(due.scope, set()).add(due.subscription.customer_id)
    return {
        (scope, customer_id): external_id
        for scope, customer_ids in by_scope.items()
        for customer_id, external_id in customers.external_ids(session, scope, customer_ids).items()
    }


def _scope_of(reading: _Reading) -> Scope:
    return reading.due.scope


def _customer_of(reading: _Reading) -> str:
    return reading.due.subscription.customer_id


def _failure(reading: _Reading, error: Exception) -> Failure:
    return reading.due.failure(error)


def _record(session: Session, scope: Scope, readings: Sequence[_Reading], answers: Ahead, now: datetime) -> Worked[int]:
    """How many quantities of each period are others than before; what is the same is not written again."""
    opened = {due.subject for due in hold_open(session, scope, [reading.due for reading in readings])}
    still_open = [reading for reading in readings if reading.due.subject in opened]
    new_of, failures = apart(still_open, lambda reading: list(_new_records(reading, answers, now)), _failure)
    periods = {(reading.due.subscription.id, reading.due.period.start) for reading, _ in new_of}
    known_of = quantities.quantities_of_periods(session, scope, periods)
    new_ones: list[QuantityRecord] = []
    others: list[QuantityRecord] = []
    counts = []
    for reading, new in new_of:
        found = known_of.get((reading.due.subscription.id, reading.due.period.start), ())
        known = {(record.price_id, record.segment_start): record for record in found}
        changed = 0
        for record in new:
            before = known.pop((record.price_id, record.segment_start), None)
            if before is None:
                new_ones.append(record)
            elif not _is_same(record, before):
                others.append(record)
            changed += not _is_same(record, before)
        # The period was cut otherwise when these were read.
        for left in known.values():
            quantities.remove_quantity(session, scope, left)
        counts.append(changed + len(known))
    quantities.add_quantities(session, scope, new_ones)
    quantities.put_quantities(session, scope, others)
    return counts, failures


def _new_records(reading: _Reading, answers: Ahead, now: datetime) -> Iterator[QuantityRecord]:
    for part, meter, wanted in reading.wanted:
        if wanted in answers.errors:
            raise answers.errors[wanted]
        yield quantity_record(reading.due, part, meter, answers.found[wanted], now)


def _is_same(record: QuantityRecord, known: QuantityRecord | None) -> bool:
    """Whether the same events gave the same number under the same versions; when and from which builds may differ."""
    return known is not None and (
        (known.price_version, known.meter_id, known.meter_version, known.period_end, known.segment_end)
        == (record.price_version, record.meter_id, record.meter_version, record.period_end, record.segment_end)
        and (known.quantity, known.events, known.quantity_hash)
        == (record.quantity, record.events, record.quantity_hash)
    )
