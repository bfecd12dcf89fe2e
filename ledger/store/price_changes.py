"""Changing the prices of a plan: each change is a new version, and none reaches a period whose invoice is final."""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, func, select, update
from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.instant import format_instant
from billing.invoice import ADJUSTMENT, BillingReason, InvoiceStatus
from billing.price import Price as PriceValue
from billing.price import price_to_json
from billing.price_version import ApplyTo, PriceStatus
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Invoice, InvoiceLine, Plan, Price, PriceVersion, Subscription, SubscriptionChange
from ledger.store.prices import PriceRecord, get_price, version_at
from ledger.store.rows import in_scope, insert_new, scoped


@dataclass(frozen=True)
class NewPrice:
    feature_id: str | None
    display_name: str
    price: PriceValue


def insert_price(
    session: Session,
    scope: Scope,
    plan_id: str,
    new: NewPrice,
    position: int,
    now: datetime,
    effective_from: datetime | None = None,
    apply_to: ApplyTo = ApplyTo.EVERY_PERIOD,
    *,
    subscription_id: str | None = None,
    overrides: str | None = None,
) -> PriceRecord:
    """Version 1 of a price of an existing plan; it came with the plan unless `apply_to` says otherwise."""
    record = PriceRecord(
        id=new_id("price", now),
        version=1,
        plan_id=plan_id,
        feature_id=new.feature_id,
        display_name=new.display_name,
        price=new.price,
        position=position,
        status=PriceStatus.ACTIVE,
        effective_from=effective_from or now,
        apply_to=apply_to,
        created_at=now,
        subscription_id=subscription_id,
        overrides=overrides,
    )
    values = scoped(
        scope,
        id=record.id,
        plan_id=plan_id,
        subscription_id=subscription_id,
        overrides_price_id=overrides,
        feature_id=new.feature_id,
        position=position,
        latest_version=1,
        created_at=now,
    )
    insert_new(session, Price, values)
    _insert_version(session, scope, record)
    return record


def add_price(
    session: Session,
    scope: Scope,
    plan_id: str,
    new: NewPrice,
    now: datetime,
    effective_from: datetime | None = None,
    apply_to: ApplyTo = ApplyTo.NEXT_PERIOD,
) -> PriceRecord:
    """One more price of a plan, from now on unless `effective_from` says otherwise.

    Without `effective_from`, and while nobody has subscribed to the plan, it is as if it had come with it.
    NotFound `plan_not_found`, `feature_not_found`; Conflict `period_finalized`.
    """
    hold_prices(session, scope, plan_id)
    if effective_from is None and not _is_in_use(session, scope, plan_id):
        effective_from, apply_to = now, ApplyTo.EVERY_PERIOD
    start = effective_from or now
    _require_open_periods(session, scope, plan_id, start, apply_to)
    last = session.scalar(select(func.max(Price.position)).where(in_scope(Price, scope), Price.plan_id == plan_id))
    position = 0 if last is None else max(last, -1) + 1
    return insert_price(session, scope, plan_id, new, position, now, start, apply_to)


def revise_price(
    session: Session,
    scope: Scope,
    price_id: str,
    price: PriceValue,
    effective_from: datetime,
    now: datetime,
    apply_to: ApplyTo = ApplyTo.NEXT_PERIOD,
    display_name: str | None = None,
) -> PriceRecord:
    """The next version of a price, or the one in force at `effective_from` where nothing would change.

    `effective_from` may lie in the future or the past, and between other versions, but no period that it reaches may
    have a final invoice. NotFound `price_not_found`; Conflict `price_archived`, `period_finalized`.
    """
    latest = _held(session, scope, price_id)
    if latest.status is PriceStatus.ARCHIVED:
        raise archived(latest)
    base = version_at(session, scope, price_id, effective_from)
    new = replace(
        base,
        version=latest.version + 1,
        display_name=display_name or base.display_name,
        price=price,
        effective_from=effective_from,
        apply_to=apply_to,
        created_at=now,
    )
    return base if _changes_nothing(base, new) else _append(session, scope, new)


def archive_price(
    session: Session,
    scope: Scope,
    price_id: str,
    effective_from: datetime,
    now: datetime,
    apply_to: ApplyTo = ApplyTo.NEXT_PERIOD,
) -> PriceRecord:
    """The last version of a price, which ends it; a price that has one already keeps it as it is.

    NotFound `price_not_found`; Conflict `period_finalized`.
    """
    latest = _held(session, scope, price_id)
    if latest.status is PriceStatus.ARCHIVED:
        return latest
    base = version_at(session, scope, price_id, effective_from)
    ended = replace(
        base,
        version=latest.version + 1,
        status=PriceStatus.ARCHIVED,
        effective_from=effective_from,
        apply_to=apply_to,
        created_at=now,
    )
    return _append(session, scope, ended)


def put_override(
    session: Session,
    scope: Scope,
    subscription_id: str,
    base: PriceRecord,
    price: PriceValue,
    display_name: str,
    effective_from: datetime,
    now: datetime,
) -> PriceRecord:
    """The price that stands in for `base` in one subscription, as a new version where there is one already.

    The history of the subscription names the version that it is billed by. The caller holds the plan's prices.
    """
    of_subscription = and_(Price.subscription_id == subscription_id, Price.overrides_price_id == base.id)
    known = session.scalar(select(Price.id).where(in_scope(Price, scope), of_subscription))
    if known is None:
        first = select(func.min(Price.position)).where(in_scope(Price, scope), Price.plan_id == base.plan_id)
        # Below zero, where no price of the plan is.
        position = min(session.scalar(first) or 0, 0) - 1
        new = NewPrice(base.feature_id, display_name, price)
        return insert_price(
            session,
            scope,
            base.plan_id,
            new,
            position,
            now,
            effective_from,
            subscription_id=subscription_id,
            overrides=base.id,
        )
    latest = get_price(session, scope, known)
    if (latest.price, latest.display_name) == (price, display_name):
        return latest
    revised = replace(
        latest,
        version=latest.version + 1,
        display_name=display_name,
        price=price,
        effective_from=effective_from,
        created_at=now,
    )
    return _add_version(session, scope, revised)


def require_of_plan(price: PriceRecord) -> None:
    """Conflict `price_of_subscription` where the price belongs to one subscription."""
    if price.subscription_id is not None:
        raise Conflict(
            "price_of_subscription",
            f"the price belongs to the subscription {price.subscription_id}",
            field="price_id",
            hint="Change it with PATCH /api/v1/subscriptions/{subscription_id}, as one of its price_overrides.",
        )


def timing_of(
    session: Session, scope: Scope, price_id: str, effective_from: datetime | None, apply_to: ApplyTo, now: datetime
) -> tuple[datetime, ApplyTo]:
    """From when a change of a price holds and how far it reaches, where its moment may be left out.

    Then it holds from now on. While nobody has subscribed to the plan, it takes the place of what came with it.
    NotFound `price_not_found`.
    """
    if effective_from is not None:
        return effective_from, apply_to
    # Never before the version that it follows: the clock of another process may be ahead of this one.
    start = max(now, get_price(session, scope, price_id).created_at)
    base = version_at(session, scope, price_id, start)
    if base.apply_to is ApplyTo.EVERY_PERIOD and not _is_in_use(session, scope, base.plan_id):
        return start, ApplyTo.EVERY_PERIOD
    return start, apply_to


def hold_prices(session: Session, scope: Scope, plan_id: str, *, to_read: bool = False) -> None:
    """Keeps the prices of a plan as they are until the transaction ends; several may do so `to_read`.

    Who changes a price holds them, and who finalizes an invoice holds them to read: so no change slips in between the
    look at the prices and the final invoice. NotFound `plan_not_found`.
    """
    rows = select(Plan.id).where(in_scope(Plan, scope), Plan.id == plan_id)
    # NO KEY UPDATE lets others refer to the plan, and excludes both itself and SHARE.
    locked = rows.with_for_update(read=True) if to_read else rows.with_for_update(key_share=True)
    if session.scalar(locked) is None:
        raise NotFound("plan_not_found", "no such plan", field="plan_id")


def archived(price: PriceRecord) -> Conflict:
    return Conflict(
        "price_archived",
        f"the price is archived from {format_instant(price.effective_from)} on",
        field="price_id",
        hint="Add another price to the plan.",
    )


def _held(session: Session, scope: Scope, price_id: str) -> PriceRecord:
    """The latest version, and the right to write the next one."""
    hold_prices(session, scope, get_price(session, scope, price_id).plan_id)
    return get_price(session, scope, price_id)


def _changes_nothing(base: PriceRecord, new: PriceRecord) -> bool:
    """Whether the terms are the same and reach no period that they do not reach already."""
    if (new.display_name, new.price) != (base.display_name, base.price):
        return False
    if ApplyTo.EVERY_PERIOD in {base.apply_to, new.apply_to}:
        return base.apply_to is ApplyTo.EVERY_PERIOD
    reaches_as_far = new.apply_to is ApplyTo.NEXT_PERIOD or base.apply_to is ApplyTo.RUNNING_PERIOD
    return reaches_as_far and base.effective_from <= new.effective_from


def _append(session: Session, scope: Scope, record: PriceRecord) -> PriceRecord:
    _require_open_periods(session, scope, record.plan_id, record.effective_from, record.apply_to)
    return _add_version(session, scope, record)


def _add_version(session: Session, scope: Scope, record: PriceRecord) -> PriceRecord:
    _insert_version(session, scope, record)
    this_price = and_(in_scope(Price, scope), Price.id == record.id)
    session.execute(update(Price).where(this_price).values(latest_version=record.version))
    return record


def _require_open_periods(
    session: Session, scope: Scope, plan_id: str, effective_from: datetime, apply_to: ApplyTo
) -> None:
    """Conflict `period_finalized` where a period that the version would reach has a final invoice."""
    if apply_to is ApplyTo.EVERY_PERIOD:
        return
    # Asked of each invoice, of which few are this late, and not of all lines that there ever were.
    has_line = exists().where(
        in_scope(InvoiceLine, scope),
        InvoiceLine.invoice_id == Invoice.id,
        # An adjustment is priced by what billed an earlier period.
        InvoiceLine.price_type != ADJUSTMENT,
        _priced_by(scope, plan_id),
    )
    # What was billed in advance is settled at the end of its period, whose own invoice is the one that must be open.
    ends_period = Invoice.billing_reason != BillingReason.SUBSCRIPTION_START.value
    of_plan = and_(in_scope(Invoice, scope), Invoice.status != InvoiceStatus.DRAFT.value, ends_period, has_line)
    if apply_to is ApplyTo.NEXT_PERIOD:
        last = session.scalar(
            select(func.max(Invoice.period_start)).where(of_plan, Invoice.period_start >= effective_from)
        )
        way_out = "Use a moment after"
    else:
        last = session.scalar(select(func.max(Invoice.period_end)).where(of_plan, Invoice.period_end > effective_from))
        way_out = "Use a moment from"
    if last is not None:
        raise Conflict(
            "period_finalized",
            "reaches a period whose invoice is final and never changes",
            field="effective_from",
            hint=f"{way_out} {format_instant(last)} on, or correct what was billed with a credit note.",
        )


def _is_in_use(session: Session, scope: Scope, plan_id: str) -> bool:
    """Whether anybody has subscribed to the plan, has changed or will change to it, or was billed by it."""
    subscribed = select(Subscription.id).where(in_scope(Subscription, scope), Subscription.plan_id == plan_id)
    named = select(SubscriptionChange.sequence).where(
        in_scope(SubscriptionChange, scope), SubscriptionChange.plan_id == plan_id
    )
    billed = select(InvoiceLine.id).where(in_scope(InvoiceLine, scope), _priced_by(scope, plan_id))
    return any(session.scalar(rows.limit(1)) is not None for rows in (subscribed, named, billed))


def _priced_by(scope: Scope, plan_id: str) -> ColumnElement[bool]:
    return InvoiceLine.price_id.in_(select(Price.id).where(in_scope(Price, scope), Price.plan_id == plan_id))


def _insert_version(session: Session, scope: Scope, record: PriceRecord) -> None:
    values = scoped(
        scope,
        price_id=record.id,
        version=record.version,
        spec=price_to_json(record.price),
        display_name=record.display_name,
        status=record.status.value,
        effective_from=record.effective_from,
        apply_to=record.apply_to.value,
        created_at=record.created_at,
    )
    insert_new(session, PriceVersion, values)
