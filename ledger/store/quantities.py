"""Billable quantities of a subscription's period, one per usage price and the time that it bills there."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import ColumnElement, and_, delete, select
from sqlalchemy.orm import Session

from billing.scope import Scope
from ledger.models import Quantity
from ledger.store.rows import in_scope, scoped, upsert


@dataclass(frozen=True)
class QuantityRecord:
    """`segment_start` and `segment_end` are the part of the period that was read.

    `builds` names the rollup builds that were read, `quantity_hash` stands for everything that was.
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
    builds: dict[str, int]
    computed_at: datetime


def put_quantity(session: Session, scope: Scope, record: QuantityRecord) -> None:
    """Writes the quantity of (subscription, period_start, price, segment_start), over an earlier one."""
    upsert(session, Quantity, scoped(scope, **vars(record)))


def remove_quantity(session: Session, scope: Scope, record: QuantityRecord) -> None:
    """Takes away a quantity that its period has no use for any more."""
    this = and_(Quantity.price_id == record.price_id, Quantity.segment_start == record.segment_start)
    session.execute(delete(Quantity).where(_of_period(scope, record.subscription_id, record.period_start), this))


def quantities_of(session: Session, scope: Scope, subscription_id: str, period_start: datetime) -> list[QuantityRecord]:
    """The quantities of one period, by price id and start."""
    rows = select(Quantity).where(_of_period(scope, subscription_id, period_start))
    return [_record(row) for row in session.scalars(rows.order_by(Quantity.price_id, Quantity.segment_start))]


def quantities_before(
    session: Session, scope: Scope, subscription_id: str, period_start: datetime, price_ids: Collection[str]
) -> list[QuantityRecord]:
    """The quantities of these prices in earlier periods of a subscription, the latest first."""
    of_subscription = and_(in_scope(Quantity, scope), Quantity.subscription_id == subscription_id)
    earlier = and_(Quantity.period_start < period_start, Quantity.price_id.in_(list(price_ids)))
    rows = select(Quantity).where(of_subscription, earlier)
    return [_record(row) for row in session.scalars(rows.order_by(Quantity.period_start.desc(), Quantity.price_id))]


def _of_period(scope: Scope, subscription_id: str, period_start: datetime) -> ColumnElement[bool]:
    of_subscription = and_(in_scope(Quantity, scope), Quantity.subscription_id == subscription_id)
    return and_(of_subscription, Quantity.period_start == period_start)


def _record(row: Quantity) -> QuantityRecord:
    return QuantityRecord(
        subscription_id=row.subscription_id,
        period_start=row.period_start,
        period_end=row.period_end,
        segment_start=row.segment_start,
        segment_end=row.segment_end,
        price_id=row.price_id,
        price_version=row.price_version,
        meter_id=row.meter_id,
        meter_version=row.meter_version,
        quantity=row.quantity,
        events=row.events,
        quantity_hash=row.quantity_hash,
        watermark=row.watermark,
        builds=row.builds,
        computed_at=row.computed_at,
    )
