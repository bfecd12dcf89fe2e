"""Billable quantities of a subscription's period, one per usage price and the time that it bills there."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, select
from sqlalchemy.orm import Session

from billing.scope import Scope
from ledger.models import Quantity
from ledger.store.bulk import insert_rows, upsert_rows
from ledger.store.rows import among, in_scope, scoped


@dataclass(frozen=True, slots=True)
class QuantityRecord:
    """`segment_start` and `segment_end` are the part of the period that was read.

    `quantity_hash` stands for everything that was read. `builds` names the rollup builds that it was read from, None in
    a record that comes from the ledger: they are kept for whoever asks the table, and are no part of any sum.
    """

    subscription_id: str
    period_start: datetime
    period_end: datetime
    segment_start: datetime
    segment_end: datetime
    price_id: str
    price_version: int
    meter_id: str
    meter_version: int
    quantity: Decimal
    events: int
    quantity_hash: str
    watermark: datetime
    computed_at: datetime
    builds: dict[str, int] | None = field(default=None, compare=False)


_NAMES = [item.name for item in fields(QuantityRecord)]


def put_quantities(session: Session, scope: Scope, records: Sequence[QuantityRecord]) -> None:
    """Writes each quantity of (subscription, period_start, price, segment_start), over an earlier one."""
    upsert_rows(session, Quantity, _rows_of(scope, records))


def add_quantities(session: Session, scope: Scope, records: Sequence[QuantityRecord]) -> None:
    """The same where none of them is there yet, which is quicker. IntegrityError where one is."""
    insert_rows(session, Quantity, _rows_of(scope, records))


def put_quantity(session: Session, scope: Scope, record: QuantityRecord) -> None:
    """The same for one."""
    put_quantities(session, scope, [record])


def remove_quantity(session: Session, scope: Scope, record: QuantityRecord) -> None:
    """Takes away a quantity that its period has no use for any more."""
    this = and_(Quantity.price_id == record.price_id, Quantity.segment_start == record.segment_start)
    session.execute(delete(Quantity).where(_of_period(scope, record.subscription_id, record.period_start), this))


def quantities_of(session: Session, scope: Scope, subscription_id: str, period_start: datetime) -> list[QuantityRecord]:
    """The quantities of one period, by price id and start."""
    periods = [(subscription_id, period_start)]
    return quantities_of_periods(session, scope, periods).get((subscription_id, period_start), [])


def quantities_of_periods(
    session: Session, scope: Scope, periods: Collection[tuple[str, datetime]]
) -> dict[tuple[str, datetime], list[QuantityRecord]]:
    """The same for periods named by their subscription and start; one without quantities is left out."""
    wanted = set(periods)
    starts = Quantity.period_start.in_({start for _, start in wanted})
    found: defaultdict[tuple[str, datetime], list[QuantityRecord]] = defaultdict(list)
    ids = {subscription_id for subscription_id, _ in wanted}
    rows = _rows().where(in_scope(Quantity, scope), among(session, Quantity.subscription_id, ids), starts)
    for row in session.execute(rows.order_by(Quantity.price_id, Quantity.segment_start)):
        record = QuantityRecord(*row)
        if (record.subscription_id, record.period_start) in wanted:
            found[record.subscription_id, record.period_start].append(record)
    return found


def quantities_before(
    session: Session, scope: Scope, subscription_ids: Collection[str], end: datetime
) -> dict[str, list[QuantityRecord]]:
    """Subscription id -> its quantities of periods that begin before `end`, the latest first; those that have any."""
    found: defaultdict[str, list[QuantityRecord]] = defaultdict(list)
    these = among(session, Quantity.subscription_id, subscription_ids)
    rows = _rows().where(in_scope(Quantity, scope), these, Quantity.period_start < end)
    for row in session.execute(rows.order_by(Quantity.period_start.desc(), Quantity.price_id)):
        record = QuantityRecord(*row)
        found[record.subscription_id].append(record)
    return found


def _of_period(scope: Scope, subscription_id: str, period_start: datetime) -> ColumnElement[bool]:
    of_subscription = and_(in_scope(Quantity, scope), Quantity.subscription_id == subscription_id)
    return and_(of_subscription, Quantity.period_start == period_start)


def _rows_of(scope: Scope, records: Sequence[QuantityRecord]) -> list[dict[str, Any]]:
    return [scoped(scope, **{name: getattr(each, name) for name in _NAMES}) for each in records]


def _rows() -> Select[Any]:
    """The columns as QuantityRecord has them: of many rows an object of the mapper each would cost the most."""
    return select(*(getattr(Quantity, name) for name in _NAMES if name != "builds"))
