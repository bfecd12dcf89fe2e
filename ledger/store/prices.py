"""Prices of a plan and their versions. A change is a new version; `billing.price_version` says which one bills when."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Protocol

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from billing.errors import NotFound
from billing.invoice import Written, canonical_json
from billing.period import Period
from billing.price import Price as PriceValue
from billing.price import parse_price, price_to_json
from billing.price_version import ApplyTo, PriceStatus, billed_in, in_force_at
from billing.scope import Scope
from ledger.models import Price, PriceVersion
from ledger.page import DEFAULT_LIMIT, Page, paginate, paginate_versions
from ledger.store.rows import among, in_chunks, in_scope


@dataclass(frozen=True)
class PriceRecord:
    """One version of a price. `overrides` is the price of the plan that it stands in for in one subscription."""

    id: str
    version: int
    plan_id: str
    feature_id: str | None
    display_name: str
    price: PriceValue
    position: int
    status: PriceStatus
    effective_from: datetime
    apply_to: ApplyTo
    created_at: datetime
    subscription_id: str | None = None
    overrides: str | None = None

    @cached_property
    def spec(self) -> Written:
        """What it says, as the hashes of invoices have it; thousands of them share a price."""
        return Written(canonical_json(price_to_json(self.price)))


def get_price(session: Session, scope: Scope, price_id: str, version: int | None = None) -> PriceRecord:
    """A price in its latest or a given version. NotFound `price_not_found`."""
    price = _price(session, scope, price_id)
    wanted = price.latest_version if version is None else version
    this_version = and_(PriceVersion.price_id == price_id, PriceVersion.version == wanted)
    row = session.scalar(select(PriceVersion).where(in_scope(PriceVersion, scope), this_version))
    if row is None:
        raise _missing()
    return _record(price, row)


class Priced(Protocol):
    """What names a version of a price, or none."""

    @property
    def price_id(self) -> str | None: ...
    @property
    def price_version(self) -> int | None: ...


def price_of(session: Session, scope: Scope, line: Priced) -> PriceRecord:
    """The version of the price that a line was priced by. NotFound `price_not_found`, also for a line without one."""
    if line.price_id is None:
        raise _missing()
    return get_price(session, scope, line.price_id, line.price_version)


def version_at(session: Session, scope: Scope, price_id: str, at: datetime) -> PriceRecord:
    """The version of a price in force at a moment, its first one before that. NotFound `price_not_found`."""
    price = _price(session, scope, price_id)
    versions = _versions(session, scope, [price])[price.id]
    return in_force_at(versions, at) or versions[0]


def list_versions(
    session: Session, scope: Scope, price_id: str, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page[PriceRecord]:
    """The versions of a price, newest first. NotFound `price_not_found`."""
    price = _price(session, scope, price_id)
    rows = select(PriceVersion).where(in_scope(PriceVersion, scope), PriceVersion.price_id == price_id)
    return paginate_versions(session, rows, PriceVersion.version, lambda row: _record(price, row), cursor, limit)


def list_prices(
    session: Session,
    scope: Scope,
    at: datetime,
    *,
    plan_id: str | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page[PriceRecord]:
    """Prices in the versions in force at `at`, archived ones and those to come included, newest price first."""
    rows = select(Price).where(in_scope(Price, scope), Price.subscription_id.is_(None))
    if plan_id is not None:
        rows = rows.where(Price.plan_id == plan_id)
    page = paginate(session, rows, Price.created_at, Price.id, lambda row: row, cursor, limit)
    versions = _versions(session, scope, page.items)
    found = [versions[price.id] for price in page.items]
    return Page([in_force_at(each, at) or each[0] for each in found], page.next_cursor)


def prices_of(
    session: Session, scope: Scope, plan_ids: Collection[str], at: datetime | None = None
) -> dict[str, tuple[PriceRecord, ...]]:
    """Plan id -> its prices in order: those in force at `at`, or every one in its latest version."""
    found: dict[str, tuple[PriceRecord, ...]] = {}
    for plan_id, prices in _versions_of_plans(session, scope, plan_ids).items():
        chosen = [each[-1] if at is None else in_force_at(each, at) for each in prices]
        found[plan_id] = tuple(
            record for record in chosen if record and (at is None or record.status is PriceStatus.ACTIVE)
        )
    return found


def prices_billed_in(session: Session, scope: Scope, plan_id: str, period: Period) -> tuple[PriceRecord, ...]:
    """The prices that a period of a subscription to the plan is billed by, each in its version, in the plan's order."""
    prices = versions_by_price(session, scope, plan_id)
    return tuple(record for versions in prices if (record := billed_in(versions, period)) is not None)


def versions_of_plan(session: Session, scope: Scope, plan_id: str) -> tuple[PriceRecord, ...]:
    """Every version of every price of the plan, in the plan's order."""
    return tuple(version for versions in versions_by_price(session, scope, plan_id) for version in versions)


def versions_by_price(session: Session, scope: Scope, plan_id: str) -> list[tuple[PriceRecord, ...]]:
    """The versions of each price of the plan, oldest first, in the plan's order."""
    return _versions_of_plans(session, scope, [plan_id])[plan_id]


def _price(session: Session, scope: Scope, price_id: str) -> Price:
    price = session.scalar(select(Price).where(in_scope(Price, scope), Price.id == price_id))
    if price is None:
        raise _missing()
    return price


def _versions_of_plans(
    session: Session, scope: Scope, plan_ids: Collection[str]
) -> dict[str, list[tuple[PriceRecord, ...]]]:
    """Plan id -> the versions of each of its prices, in the plan's order."""
    found: dict[str, list[tuple[PriceRecord, ...]]] = {plan_id: [] for plan_id in plan_ids}
    for some in in_chunks(plan_ids):
        of_plans = and_(in_scope(Price, scope), among(session, Price.plan_id, some), Price.subscription_id.is_(None))
        rows = select(Price).where(of_plans).order_by(Price.position)
        prices = list(session.scalars(rows))
        versions = _versions(session, scope, prices)
        for price in prices:
            found[price.plan_id].append(versions[price.id])
    return found


def _versions(session: Session, scope: Scope, prices: Collection[Price]) -> dict[str, tuple[PriceRecord, ...]]:
    """Price id -> its versions, oldest first."""
    by_id = {price.id: price for price in prices}
    found: defaultdict[str, list[PriceRecord]] = defaultdict(list)
    for some in in_chunks(by_id):
        rows = select(PriceVersion).where(in_scope(PriceVersion, scope), among(session, PriceVersion.price_id, some))
        for row in session.scalars(rows.order_by(PriceVersion.version)):
            found[row.price_id].append(_record(by_id[row.price_id], row))
    return {price_id: tuple(versions) for price_id, versions in found.items()}


def _record(price: Price, version: PriceVersion) -> PriceRecord:
    return PriceRecord(
        id=price.id,
        version=version.version,
        plan_id=price.plan_id,
        feature_id=price.feature_id,
        display_name=version.display_name,
        price=parse_price(version.spec),
        position=price.position,
        status=PriceStatus(version.status),
        effective_from=version.effective_from,
        apply_to=ApplyTo(version.apply_to),
        created_at=version.created_at,
        subscription_id=price.subscription_id,
        overrides=price.overrides_price_id,
    )


def _missing() -> NotFound:
    return NotFound("price_not_found", "no such price", field="price_id")
