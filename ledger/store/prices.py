"""Prices of a plan and their versions. A change is a new version with the moment from which it holds."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, select, update
from sqlalchemy.orm import Session

from billing.errors import InvalidInput, NotFound
from billing.price import Price as PriceValue
from billing.price import parse_price, price_to_json
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Price, PriceVersion
from ledger.store.rows import in_scope, insert_new, scoped


@dataclass(frozen=True)
class NewPrice:
    feature_id: str | None
    display_name: str
    price: PriceValue


@dataclass(frozen=True)
class PriceRecord:
    id: str
    version: int
    plan_id: str
    feature_id: str | None
    display_name: str
    price: PriceValue
    position: int
    effective_from: datetime


def insert_price(
    session: Session, scope: Scope, plan_id: str, new: NewPrice, position: int, now: datetime
) -> PriceRecord:
    """Version 1 of a price of an existing plan, in force from the beginning of time until it is revised."""
    record = PriceRecord(new_id("price", now), 1, plan_id, new.feature_id, new.display_name, new.price, position, now)
    values = scoped(
        scope,
        id=record.id,
        plan_id=plan_id,
        feature_id=new.feature_id,
        display_name=new.display_name,
        position=position,
        latest_version=1,
    )
    insert_new(session, Price, values)
    _insert_version(session, scope, record)
    return record


def revise_price(
    session: Session, scope: Scope, price_id: str, price: PriceValue, effective_from: datetime
) -> PriceRecord:
    """The next version of a price, in force from `effective_from`, which may not lie before the version it follows.

    NotFound `price_not_found`, InvalidInput `effective_from_too_early`.
    """
    this_price = and_(in_scope(Price, scope), Price.id == price_id)
    session.execute(select(Price.id).where(this_price).with_for_update())
    latest = get_price(session, scope, price_id)
    if effective_from < latest.effective_from:
        raise InvalidInput(
            "effective_from_too_early",
            "a price version must follow the one before it",
            field="effective_from",
            hint=f"Use {latest.effective_from.isoformat()} or later.",
        )
    record = PriceRecord(
        price_id,
        latest.version + 1,
        latest.plan_id,
        latest.feature_id,
        latest.display_name,
        price,
        latest.position,
        effective_from,
    )
    _insert_version(session, scope, record)
    session.execute(update(Price).where(this_price).values(latest_version=record.version))
    return record


def get_price(session: Session, scope: Scope, price_id: str, version: int | None = None) -> PriceRecord:
    """A price in its latest or a given version. NotFound `price_not_found`."""
    price = session.scalar(select(Price).where(in_scope(Price, scope), Price.id == price_id))
    wanted = version or (price.latest_version if price else None)
    this_version = and_(PriceVersion.price_id == price_id, PriceVersion.version == wanted)
    row = session.scalar(select(PriceVersion).where(in_scope(PriceVersion, scope), this_version))
    if price is None or row is None:
        raise NotFound("price_not_found", "no such price", field="price_id")
    return _record(price, row)


def prices_of(
    session: Session, scope: Scope, plan_ids: Collection[str], at: datetime | None = None
) -> dict[str, tuple[PriceRecord, ...]]:
    """Plan id -> its prices in order, each in its latest version, or in the version in force at `at`.

    Version 1 is in force before its `effective_from` as well: a subscription may start before its plan was entered.
    """
    prices = list(
        session.scalars(
            select(Price).where(in_scope(Price, scope), Price.plan_id.in_(plan_ids)).order_by(Price.position)
        )
    )
    versions = select(PriceVersion).where(
        in_scope(PriceVersion, scope), PriceVersion.price_id.in_([price.id for price in prices])
    )
    chosen: dict[str, PriceVersion] = {}
    for row in session.scalars(versions.order_by(PriceVersion.version)):
        if at is None or row.version == 1 or row.effective_from <= at:
            chosen[row.price_id] = row
    return {
        plan_id: tuple(_record(price, chosen[price.id]) for price in prices if price.plan_id == plan_id)
        for plan_id in plan_ids
    }


def _insert_version(session: Session, scope: Scope, record: PriceRecord) -> None:
    values = scoped(
        scope,
        price_id=record.id,
        version=record.version,
        spec=price_to_json(record.price),
        effective_from=record.effective_from,
    )
    insert_new(session, PriceVersion, values)


def _record(price: Price, version: PriceVersion) -> PriceRecord:
    return PriceRecord(
        price.id,
        version.version,
        price.plan_id,
        price.feature_id,
        price.display_name,
        parse_price(version.spec),
        price.position,
        version.effective_from,
    )
