"""Ratings again of final periods: asked for, rated bit by bit under a lease, and kept with every line that differs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session

from billing.errors import NotFound
from billing.exact import EXACT
from billing.period import Period
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Rerate, RerateDifference
from ledger.models.rerate import IS_RUNNING
from ledger.page import DEFAULT_LIMIT, Page, paginate, paginate_versions
from ledger.store.bulk import insert_rows
from ledger.store.rows import affected, among, in_scope, insert_new, scope_of, scoped

__all__ = [
    "DifferenceRecord",
    "RerateRecord",
    "add_rated",
    "adjusted",
    "chosen_differences",
    "count_running",
    "create_rerate",
    "get_rerate",
    "lease",
    "list_differences",
    "list_rerates",
    "release",
    "running",
    "sums",
]


@dataclass(frozen=True, kw_only=True)
class RerateRecord:
    """Periods that end in the days (inclusive), chosen by our ids; `status` running or done.

    `invoices` and `lines` count what was rated so far, `differences` the lines that differ. `failures` has an entry
    {"invoice_id", "code", "detail"} for each invoice that could not be rated. Events received up to `watermark` count.
    """

    id: str
    status: str
    first_day: date
    last_day: date
    customer_id: str | None
    subscription_id: str | None
    meter_id: str | None
    price_versions: Mapping[str, int]
    prices_at: datetime | None
    invoices: int
    lines: int
    differences: int
    failures: tuple[dict[str, Any], ...]
    watermark: datetime | None
    after: tuple[datetime, str] | None
    leased_until: datetime | None
    requested_by: str
    requested_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class DifferenceRecord:
    """A line of a final invoice that comes to something else; `customer_id` is the caller's own (external) id.

    `billed` and `due` are less discounts, without taxes on top; `adjustment_id` is what was made of the difference.
    """

    position: int
    invoice_id: str
    invoice_number: str | None
    line_id: str
    customer_id: str
    subscription_id: str
    display_name: str
    period: Period
    price_id: str
    billed_version: int
    price_version: int
    billed_quantity: Decimal
    quantity: Decimal
    currency: str
    billed: Decimal
    due: Decimal
    adjustment_id: str | None = None

    @property
    def amount(self) -> Decimal:
        """Due less billed."""
        return EXACT.subtract(self.due, self.billed)


def create_rerate(
    session: Session,
    scope: Scope,
    *,
    first_day: date,
    last_day: date,
    customer_id: str | None,
    subscription_id: str | None,
    meter_id: str | None,
    price_versions: Mapping[str, int],
    prices_at: datetime | None,
    requested_by: str,
    now: datetime,
) -> RerateRecord:
    """A new one, of which nothing is rated yet."""
    rerate_id = new_id("rerate", now)
    nothing = dict.fromkeys(("watermark", "after_end", "after_invoice_id", "leased_until", "finished_at"))
    values = scoped(
        scope,
        id=rerate_id,
        status="running",
        first_day=first_day.isoformat(),
        last_day=last_day.isoformat(),
        customer_id=customer_id,
        subscription_id=subscription_id,
        meter_id=meter_id,
        price_versions=dict(price_versions),
        prices_at=prices_at,
        invoices=0,
        lines=0,
        differences=0,
        failures=[],
        requested_by=requested_by,
        requested_at=now,
        **nothing,
    )
    insert_new(session, Rerate, values)
    return get_rerate(session, scope, rerate_id)


def get_rerate(session: Session, scope: Scope, rerate_id: str) -> RerateRecord:
    """NotFound `rerate_not_found`."""
    row = session.scalar(select(Rerate).where(_this(scope, rerate_id)))
    if row is None:
        raise NotFound("rerate_not_found", "no such rating", field="rerate_id")
    return _record(row)


def list_rerates(
    session: Session, scope: Scope, *, status: str | None = None, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page[RerateRecord]:
    """Ratings, newest first."""
    rows = select(Rerate).where(in_scope(Rerate, scope))
    if status is not None:
        rows = rows.where(Rerate.status == status)
    return paginate(session, rows, Rerate.requested_at, Rerate.id, _record, cursor, limit)


def count_running(session: Session, scope: Scope) -> int:
    """How many of an environment are not done."""
    rows = select(func.count()).select_from(Rerate).where(in_scope(Rerate, scope), IS_RUNNING)
    return session.scalar(rows) or 0


def running(session: Session, now: datetime, limit: int) -> list[tuple[Scope, RerateRecord]]:
    """Those of all environments that are not done and that nobody is at, the oldest first."""
    free = or_(Rerate.leased_until.is_(None), Rerate.leased_until <= now)
    rows = select(Rerate).where(IS_RUNNING, free).order_by(Rerate.requested_at, Rerate.id).limit(limit)
    return [(scope_of(row), _record(row)) for row in session.scalars(rows)]


def lease(session: Session, scope: Scope, found: RerateRecord, until: datetime) -> bool:
    """Whether the caller may rate the next invoices, until then; a rival that was quicker may instead."""
    this = (_this(scope, found.id), IS_RUNNING, _leased(found.leased_until), _at(found.after))
    return affected(session, update(Rerate).where(*this).values(leased_until=until)) == 1


def release(session: Session, scope: Scope, rerate_id: str, until: datetime) -> None:
    """Gives a lease back, where it is still the caller's."""
    this = (_this(scope, rerate_id), Rerate.leased_until == until)
    session.execute(update(Rerate).where(*this).values(leased_until=None))


def add_rated(
    session: Session,
    scope: Scope,
    rerate_id: str,
    leased_until: datetime,
    *,
    invoices: int,
    lines: int,
    differences: Sequence[DifferenceRecord],
    failures: Sequence[Mapping[str, str]],
    watermark: datetime,
    after: tuple[datetime, str] | None,
    finished_at: datetime | None,
) -> bool:
    """Writes what the next invoices came to, `after` being the last of them, and gives the lease back; done with
    `finished_at`. False where the lease was lost: then nothing is written. Positions are given here.
    """
    row = session.scalar(select(Rerate).where(_this(scope, rerate_id)).with_for_update())
    if row is None or row.status != "running" or row.leased_until != leased_until:
        return False
    before = row.differences
    end, invoice_id = (row.after_end, row.after_invoice_id) if after is None else after
    values = {
        "invoices": row.invoices + invoices,
        "lines": row.lines + lines,
        "differences": before + len(differences),
        "failures": [*row.failures, *map(dict, failures)],
        "watermark": min(watermark, row.watermark or watermark),
        "after_end": end,
        "after_invoice_id": invoice_id,
        "leased_until": None,
        "status": "running" if finished_at is None else "done",
        "finished_at": finished_at,
    }
    session.execute(update(Rerate).where(_this(scope, rerate_id)).values(values))
    insert_rows(
        session,
        RerateDifference,
        [_columns(scope, rerate_id, before + number, each) for number, each in enumerate(differences, 1)],
    )
    return True


def list_differences(
    session: Session,
    scope: Scope,
    rerate_id: str,
    *,
    invoice_id: str | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page[DifferenceRecord]:
    """The lines of a rating that differ, the latest period first."""
    rows = select(RerateDifference).where(_of(scope, rerate_id))
    if invoice_id is not None:
        rows = rows.where(RerateDifference.invoice_id == invoice_id)
    return paginate_versions(session, rows, RerateDifference.position, _difference, cursor, limit)


def chosen_differences(
    session: Session,
    scope: Scope,
    rerate_id: str,
    *,
    invoice_ids: Collection[str] = (),
    line_ids: Collection[str] = (),
) -> list[DifferenceRecord]:
    """Those of the invoices or lines, all where neither is named, in order."""
    rows = select(RerateDifference).where(_of(scope, rerate_id)).order_by(RerateDifference.position)
    if invoice_ids or line_ids:
        of_invoices = among(session, RerateDifference.invoice_id, invoice_ids)
        rows = rows.where(or_(of_invoices, among(session, RerateDifference.line_id, line_ids)))
    return [_difference(row) for row in session.scalars(rows)]


def adjusted(session: Session, scope: Scope, rerate_id: str, adjustments: Mapping[int, str]) -> None:
    """Notes what was made of differences: their positions, each with the adjustment's id."""
    for position, adjustment_id in adjustments.items():
        this = and_(_of(scope, rerate_id), RerateDifference.position == position)
        session.execute(update(RerateDifference).where(this).values(adjustment_id=adjustment_id))


def sums(session: Session, scope: Scope, rerate_id: str) -> dict[str, tuple[int, Decimal]]:
    """Currency -> how many lines differ, and what all of them differ by."""
    found: dict[str, tuple[int, Decimal]] = {}
    columns = (RerateDifference.currency, RerateDifference.due, RerateDifference.billed)
    for row in session.execute(select(*columns).where(_of(scope, rerate_id))):
        lines, amount = found.get(row.currency, (0, Decimal(0)))
        found[row.currency] = lines + 1, EXACT.add(amount, EXACT.subtract(row.due, row.billed))
    return found


def _this(scope: Scope, rerate_id: str) -> ColumnElement[bool]:
    return and_(in_scope(Rerate, scope), Rerate.id == rerate_id)


def _of(scope: Scope, rerate_id: str) -> ColumnElement[bool]:
    return and_(in_scope(RerateDifference, scope), RerateDifference.rerate_id == rerate_id)


def _leased(until: datetime | None) -> ColumnElement[bool]:
    return Rerate.leased_until.is_(None) if until is None else Rerate.leased_until == until


def _at(after: tuple[datetime, str] | None) -> ColumnElement[bool]:
    return Rerate.after_invoice_id.is_(None) if after is None else Rerate.after_invoice_id == after[1]


def _record(row: Rerate) -> RerateRecord:
    after = None if row.after_end is None or row.after_invoice_id is None else (row.after_end, row.after_invoice_id)
    return RerateRecord(
        id=row.id,
        status=row.status,
        first_day=date.fromisoformat(row.first_day),
        last_day=date.fromisoformat(row.last_day),
        customer_id=row.customer_id,
        subscription_id=row.subscription_id,
        meter_id=row.meter_id,
        price_versions=row.price_versions,
        prices_at=row.prices_at,
        invoices=row.invoices,
        lines=row.lines,
        differences=row.differences,
        failures=tuple(row.failures),
        watermark=row.watermark,
        after=after,
        leased_until=row.leased_until,
        requested_by=row.requested_by,
        requested_at=row.requested_at,
        finished_at=row.finished_at,
    )


_SAME = (
    "invoice_id",
    "invoice_number",
    "line_id",
    "customer_id",
    "subscription_id",
    "display_name",
    "price_id",
    "billed_version",
    "price_version",
    "billed_quantity",
    "quantity",
    "currency",
    "billed",
    "due",
    "adjustment_id",
)


def _difference(row: RerateDifference) -> DifferenceRecord:
    same = {name: getattr(row, name) for name in _SAME}
    return DifferenceRecord(position=row.position, period=Period(row.period_start, row.period_end), **same)


def _columns(scope: Scope, rerate_id: str, position: int, each: DifferenceRecord) -> dict[str, Any]:
    same = {name: getattr(each, name) for name in _SAME}
    period = {"period_start": each.period.start, "period_end": each.period.end}
    return scoped(scope, rerate_id=rerate_id, position=position, **same, **period)
