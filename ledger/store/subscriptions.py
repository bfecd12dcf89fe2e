"""Subscriptions: a customer on a plan from a date, with the history of its changes."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Row, Select, and_, or_, select, update
from sqlalchemy.orm import Session

from billing.errors import NotFound
from billing.period import Period, Schedule, parse_anchor, parse_interval
from billing.scope import Scope
from billing.subscription import ChangeKind, Life, SubscriptionStatus, periods_ending_in
from ledger.ids import new_id
from ledger.models import Subscription, SubscriptionChange
from ledger.page import DEFAULT_LIMIT, Page, paginate
from ledger.store.customers import get_customer
from ledger.store.plans import get_plan
from ledger.store.rows import among, in_chunks, in_scope, insert_new, scope_of, scoped
from ledger.store.subscription_changes import ChangeRecord, NewChange, append, histories_of
from ledger.store.subscription_status import has_plan, has_status

_TICK: Final = timedelta(microseconds=1)
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SubscriptionRecord:
    """`billing_anchor` is "subscription_start", "calendar" or an instant in ISO 8601; `plan_id` is the first plan.

    `end_date` is the end as the history has left it.
    """

    id: str
    customer_id: str
    plan_id: str
    start_date: datetime
    end_date: datetime | None
    trial_end: datetime | None
    billing_anchor: str
    interval: str
    timezone: str
    currency: str
    collection_method: str
    metadata: dict[str, str]
    created_at: datetime
    history: tuple[ChangeRecord, ...]

    @property
    def plan_ids(self) -> set[str]:
        """Every plan that its history names."""
        changed = (change for change in self.history if change.kind is ChangeKind.PLAN_CHANGED)
        return {self.plan_id, *(change.values["plan_id"] for change in changed)}

    def schedule(self) -> Schedule:
        """The rules that make this subscription's periods. They do not know of `end_date`."""
        return _schedule(self.start_date, self.interval, self.billing_anchor, self.timezone)

    def life(self) -> Life:
        """What became of it, in time."""
        return Life(self.start_date, self.end_date, self.trial_end, self.plan_id, self.history)

    def period_at(self, moment: datetime) -> Period | None:
        """The billing period that holds a moment, cut at the end of the subscription; None outside of its time."""
        if moment < self.start_date or (self.end_date is not None and self.end_date <= moment):
            return None
        period = _period_at(self.schedule(), moment)
        return period if self.end_date is None else Period(period.start, min(period.end, self.end_date))

    def periods_ending_in(self, start: datetime, end: datetime) -> Iterator[Period]:
        """Its billing periods whose end e is in [start, end), the last one cut at the end of the subscription."""
        return iter(_periods_ending_in(self.schedule(), self.end_date, start, end))

    def period_ending_after(self, moment: datetime) -> Period | None:
        """The first of its billing periods that ends after a moment; None where it has come to its end."""
        return next(periods_ending_in(self.schedule(), self.end_date, moment + _TICK, _NEVER), None)


_NAMES = [item.name for item in fields(SubscriptionRecord) if item.name != "history"]
_values = attrgetter(*("meta" if name == "metadata" else name for name in _NAMES))


@lru_cache(maxsize=1024)
def _schedule(start: datetime, interval: str, billing_anchor: str, timezone: str) -> Schedule:
    """The same object for all that share it: what it has worked out once it keeps."""
    return Schedule(start, parse_interval(interval), parse_anchor(billing_anchor), timezone)


@lru_cache(maxsize=4096)
def _period_at(schedule: Schedule, moment: datetime) -> Period:
    return schedule.period_at(moment)


@lru_cache(maxsize=1024)
def _periods_ending_in(schedule: Schedule, ends: datetime | None, start: datetime, end: datetime) -> tuple[Period, ...]:
    return tuple(periods_ending_in(schedule, ends, start, end))


def create_subscription(
    session: Session,
    scope: Scope,
    *,
    customer_id: str,
    plan_id: str,
    start_date: datetime,
    timezone: str,
    now: datetime,
    end_date: datetime | None = None,
    trial_end: datetime | None = None,
    billing_anchor: str = "subscription_start",
    collection_method: str = "charge_automatically",
    metadata: Mapping[str, str] | None = None,
) -> SubscriptionRecord:
    """A new subscription in the plan's interval and currency; `customer_id` ours or external, `plan_id` id or key.

    NotFound `customer_not_found`, `plan_not_found`.
    """
    customer = get_customer(session, scope, customer_id)
    plan = get_plan(session, scope, plan_id)
    record = SubscriptionRecord(
        id=new_id("sub", now),
        customer_id=customer.id,
        plan_id=plan.id,
        start_date=start_date,
        end_date=end_date,
        trial_end=trial_end,
        billing_anchor=billing_anchor,
        interval=plan.interval,
        timezone=timezone,
        currency=plan.currency,
        collection_method=collection_method,
        metadata=dict(metadata or {}),
        created_at=now,
        history=(),
    )
    record.schedule()
    names = {item.name for item in fields(record)} - {"metadata", "history"}
    values = scoped(scope, **{name: getattr(record, name) for name in names})
    insert_new(session, Subscription, {**values, "meta": record.metadata, "due_from": start_date})
    return get_subscription(session, scope, record.id)


def get_subscription(session: Session, scope: Scope, subscription_id: str) -> SubscriptionRecord:
    """NotFound `subscription_not_found`."""
    row = session.scalar(select(Subscription).where(in_scope(Subscription, scope), Subscription.id == subscription_id))
    if row is None:
        raise _missing()
    return _records(session, scope, [row])[0]


def hold_subscription(session: Session, scope: Scope, subscription_id: str) -> SubscriptionRecord:
    """The subscription, its row locked until the transaction ends. NotFound `subscription_not_found`.

    Who changes it holds it, and who drafts or finalizes an invoice of it: so a change finds every final invoice, and a
    final invoice every change.
    """
    found = hold_subscriptions(session, scope, [subscription_id])
    if not found:
        raise _missing()
    return found[subscription_id]


def hold_subscriptions(session: Session, scope: Scope, ids: Collection[str]) -> dict[str, SubscriptionRecord]:
    """The same for many, always locked in the same order: id -> those that exist."""
    rows = _columns().where(in_scope(Subscription, scope)).order_by(Subscription.id).with_for_update(key_share=True)
    return _by_id(session, scope, rows, sorted(set(ids)))


def subscriptions_of(session: Session, scope: Scope, ids: Collection[str]) -> dict[str, SubscriptionRecord]:
    """Id -> subscription, of those that exist."""
    return _by_id(session, scope, _columns().where(in_scope(Subscription, scope)), ids)


def plan_ids_of(session: Session, scope: Scope, ids: Collection[str]) -> set[str]:
    """Every plan that the subscriptions are on, or were, or will be by their history."""
    first = select(Subscription.plan_id).where(in_scope(Subscription, scope), among(session, Subscription.id, ids))
    others = select(SubscriptionChange.plan_id).where(
        in_scope(SubscriptionChange, scope),
        among(session, SubscriptionChange.subscription_id, ids),
        SubscriptionChange.plan_id.is_not(None),
    )
    return {*session.scalars(first.distinct()), *session.scalars(others.distinct())}


def change_subscription(
    session: Session, scope: Scope, record: SubscriptionRecord, changes: Sequence[NewChange], actor: str, now: datetime
) -> SubscriptionRecord:
    """Adds to the history of a subscription that the caller holds; a change of the end date becomes its end date."""
    append(session, scope, record.id, len(record.history), changes, actor, now)
    # What is due may be another by now, and is worked out by whoever bills.
    new: dict[str, Any] = {"due_from": record.start_date, "due_revision": Subscription.due_revision + 1}
    ends = [change.values["end_date"] for change in changes if "end_date" in change.values]
    if ends:
        new["end_date"] = None if ends[-1] is None else datetime.fromisoformat(ends[-1])
    _set(session, scope, record.id, **new)
    return get_subscription(session, scope, record.id)


def update_subscription(
    session: Session,
    scope: Scope,
    subscription_id: str,
    *,
    collection_method: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> SubscriptionRecord:
    """Sets what is given; invoices that are there keep theirs. NotFound `subscription_not_found`."""
    if collection_method is not None:
        _set(session, scope, subscription_id, collection_method=collection_method)
    if metadata is not None:
        _set(session, scope, subscription_id, meta=dict(metadata))
    return get_subscription(session, scope, subscription_id)


def list_subscriptions(
    session: Session,
    scope: Scope,
    now: datetime,
    *,
    customer_id: str | None = None,
    plan_id: str | None = None,
    status: str | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page[SubscriptionRecord]:
    """Subscriptions, newest first; `customer_id` and `plan_id` are our ids, plan and status those of `now`."""
    rows = select(Subscription).where(in_scope(Subscription, scope))
    if customer_id is not None:
        rows = rows.where(Subscription.customer_id == customer_id)
    if plan_id is not None:
        rows = rows.where(has_plan(plan_id, now))
    if status is not None:
        rows = rows.where(has_status(SubscriptionStatus(status), now))
    page = paginate(session, rows, Subscription.created_at, Subscription.id, lambda row: row, cursor, limit)
    return Page(_records(session, scope, page.items), page.next_cursor)


def subscriptions_begun(session: Session, scope: Scope, customer_id: str, moment: datetime) -> list[SubscriptionRecord]:
    """A customer's subscriptions that had begun by `moment`, ended ones included, oldest first; our id."""
    rows = select(Subscription).where(
        in_scope(Subscription, scope), Subscription.customer_id == customer_id, Subscription.start_date <= moment
    )
    return _records(session, scope, list(session.scalars(rows.order_by(Subscription.start_date, Subscription.id))))


def billable(
    session: Session, start: datetime, end: datetime, *, unbilled: bool = False
) -> list[tuple[Scope, SubscriptionRecord]]:
    """Subscriptions of all environments that may have a period ending in [start, end), oldest first; with `unbilled`
    none that has nothing to bill by then (`subscription_dues`).

    Candidates only: the caller asks each for `periods_ending_in(start, end)`.
    """
    not_over = or_(Subscription.end_date.is_(None), Subscription.end_date >= start)
    rows = _columns().where(Subscription.start_date < end, not_over)
    if unbilled:
        rows = rows.where(Subscription.due_from < end)
    return _with_histories(session, session.execute(rows.order_by(Subscription.start_date, Subscription.id)).all())


def begun_between(session: Session, start: datetime, end: datetime) -> list[tuple[Scope, SubscriptionRecord]]:
    """Subscriptions of all environments that begin in [start, end), oldest first."""
    rows = _columns().where(Subscription.start_date >= start, Subscription.start_date < end)
    return _with_histories(session, session.execute(rows.order_by(Subscription.start_date, Subscription.id)).all())


def _with_histories(session: Session, rows: Sequence[Row[Any]]) -> list[tuple[Scope, SubscriptionRecord]]:
    """Records of rows of many scopes, in the same order."""
    by_scope: defaultdict[Scope, list[str]] = defaultdict(list)
    for row in rows:
        by_scope[scope_of(row)].append(row.id)
    histories = {scope: histories_of(session, scope, ids) for scope, ids in by_scope.items()}
    return [(scope_of(row), _record(row, histories[scope_of(row)].get(row.id, ()))) for row in rows]


def _columns() -> Select[Any]:
    """The rows as columns: of many, an object of the mapper each would cost the most."""
    return select(*Subscription.__table__.columns)


def _by_id(session: Session, scope: Scope, rows: Select[Any], ids: Collection[str]) -> dict[str, SubscriptionRecord]:
    found = [
        row for some in in_chunks(ids) for row in session.execute(rows.where(among(session, Subscription.id, some)))
    ]
    # After the rows, which may have been waited for.
    histories = histories_of(session, scope, [row.id for row in found])
    return {row.id: _record(row, histories.get(row.id, ())) for row in found}


def _records(session: Session, scope: Scope, rows: Sequence[Subscription]) -> list[SubscriptionRecord]:
    histories = histories_of(session, scope, [row.id for row in rows])
    return [_record(row, histories.get(row.id, ())) for row in rows]


def _missing() -> NotFound:
    return NotFound("subscription_not_found", "no such subscription", field="subscription_id")


def _set(session: Session, scope: Scope, subscription_id: str, **values: object) -> None:
    this = and_(in_scope(Subscription, scope), Subscription.id == subscription_id)
    session.execute(update(Subscription).where(this).values(values))


def _record(row: Subscription | Row[Any], history: tuple[ChangeRecord, ...]) -> SubscriptionRecord:
    return SubscriptionRecord(**dict(zip(_NAMES, _values(row), strict=True)), history=history)
