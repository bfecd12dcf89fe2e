"""Use cases: what becomes of a subscription. Each is an entry in its history, or several at one moment.

No change reaches into a period whose invoice is final or void. `actor` (a key's id) stands in the history and in the
audit log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy.orm import Session

from billing.errors import Conflict, InvalidInput, NotFound
from billing.instant import format_instant
from billing.period import parse_interval
from billing.scope import Scope
from billing.subscription import ChangeKind, SubscriptionStatus, in_force
from ledger.store import audit, invoices, plans, price_changes, subscriptions
from ledger.store.plans import PlanRecord
from ledger.store.subscription_changes import ChangeRecord, NewChange
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps.ask_mirror import ask_mirror
from pipelines.steps.subscription_terms import NewOverride, NewQuantity, override_changes, quantity_changes

__all__ = [
    "Effective",
    "SubscriptionChanges",
    "When",
    "cancel",
    "change_plan",
    "change_terms",
    "first_terms",
    "pause",
    "resume",
    "withdraw_cancellation",
    "withdraw_change",
]

Effective = Literal["now", "period_end"] | datetime


@dataclass(frozen=True)
class When:
    """From when a change holds, why, and who asks for it at which moment."""

    effective: Effective
    reason: str | None
    actor: str
    now: datetime


@dataclass(frozen=True)
class SubscriptionChanges:
    """What is None stays. `end_date` is a field of its own: `ends` says that it was given, also as null."""

    quantities: Sequence[NewQuantity] = ()
    overrides: Sequence[NewOverride] = ()
    ends: bool = False
    end_date: datetime | None = None
    collection_method: str | None = None
    metadata: Mapping[str, str] | None = None


def cancel(session: Session, scope: Scope, subscription_id: str, when: When) -> SubscriptionRecord:
    """Ends the subscription; one that is to end already ends then instead. Usage until then is billed.

    NotFound `subscription_not_found`; Conflict `subscription_cancelled`, `period_finalized`; InvalidInput
    `before_start`.
    """
    held = subscriptions.hold_subscription(session, scope, subscription_id)
    return _end(session, scope, held, _moment(held, when), when)


def withdraw_cancellation(session: Session, scope: Scope, subscription_id: str, when: When) -> SubscriptionRecord:
    """Lets a subscription go on that is to end: it ends where it would have before it was cancelled.

    NotFound `subscription_not_found`; Conflict `subscription_cancelled`, `not_to_be_cancelled`.
    """
    held = subscriptions.hold_subscription(session, scope, subscription_id)
    _require_running(held, when.now)
    found = _cancellations(held)
    if not found:
        raise Conflict("not_to_be_cancelled", "the subscription has not been cancelled", hint="It goes on as it is.")
    return _take_back(session, scope, held, [change.sequence for change in found], _end_before(found[0]), when)


def pause(session: Session, scope: Scope, subscription_id: str, when: When) -> SubscriptionRecord:
    """From then on nothing is billed until it is resumed.

    NotFound `subscription_not_found`; Conflict `subscription_cancelled`, `subscription_paused`, `period_finalized`;
    InvalidInput `before_start`.
    """
    held = subscriptions.hold_subscription(session, scope, subscription_id)
    moment = _moment(held, when)
    if _is_paused(held, moment):
        raise Conflict("subscription_paused", f"it is paused at {format_instant(moment)} already", field="effective")
    return _write(session, scope, held, [NewChange(ChangeKind.PAUSED, moment, reason=when.reason)], when)


def resume(session: Session, scope: Scope, subscription_id: str, when: When) -> SubscriptionRecord:
    """Ends a pause.

    NotFound `subscription_not_found`; Conflict `subscription_cancelled`, `subscription_not_paused`, `period_finalized`;
    InvalidInput `before_start`.
    """
    held = subscriptions.hold_subscription(session, scope, subscription_id)
    moment = _moment(held, when)
    if not _is_paused(held, moment):
        raise Conflict("subscription_not_paused", f"it is not paused at {format_instant(moment)}", field="effective")
    return _write(session, scope, held, [NewChange(ChangeKind.RESUMED, moment, reason=when.reason)], when)


def change_plan(
    session: Session,
    scope: Scope,
    subscription_id: str,
    when: When,
    plan_id: str,
    quantities: Sequence[NewQuantity] = (),
) -> SubscriptionRecord:
    """Puts the subscription on another plan, with seats of its prices. Seats and overrides of the old one end.

    NotFound `subscription_not_found`, `plan_not_found`; Conflict `plan_archived`, `plan_unchanged`,
    `plan_not_compatible`, `subscription_cancelled`, `period_finalized`; InvalidInput `before_start` and those of a
    quantity.
    """
    plan = plans.get_plan(session, scope, plan_id)
    # The plan before the subscription, as everybody locks them.
    price_changes.hold_prices(session, scope, plan.id, to_read=True)
    plans.require_active(plan)
    held = subscriptions.hold_subscription(session, scope, subscription_id)
    moment = _moment(held, when)
    if held.life().segment_at(moment).plan_id == plan.id:
        raise Conflict("plan_unchanged", "it is on this plan at that moment", field="plan_id")
    _require_compatible(held, plan)
    changes = [
        NewChange(ChangeKind.PLAN_CHANGED, moment, {"plan_id": plan.id}, reason=when.reason),
        *quantity_changes(plan, quantities, moment, when.reason),
    ]
    return _write(session, scope, held, changes, when)


def change_terms(
    session: Session, scope: Scope, subscription_id: str, wanted: SubscriptionChanges, when: When
) -> SubscriptionRecord:
    """Sets seats, special prices and the end date from a moment on, the other fields at once.

    NotFound `subscription_not_found`; Conflict `subscription_cancelled`, `period_finalized`, `subscription_changed`;
    InvalidInput `before_start`, `end_before_start`, `price_not_in_plan`, `quantity_not_for_price` and those of a price.
    """
    found = subscriptions.get_subscription(session, scope, subscription_id)
    plan_id = found.life().segment_at(max(when.now, found.start_date)).plan_id
    if wanted.quantities or wanted.overrides:
        plan_id = found.life().segment_at(_moment(found, when)).plan_id
        price_changes.hold_prices(session, scope, plan_id)
    held = subscriptions.hold_subscription(session, scope, subscription_id)
    if wanted.collection_method is not None or wanted.metadata is not None:
        held = subscriptions.update_subscription(
            session, scope, held.id, collection_method=wanted.collection_method, metadata=wanted.metadata
        )
        audit.write(session, scope, when.actor, "subscription.updated", "subscription", held.id, {}, when.now)
    if wanted.quantities or wanted.overrides:
        moment = _moment(held, when)
        if held.life().segment_at(moment).plan_id != plan_id:
            raise Conflict("subscription_changed", "somebody else has changed the plan", hint="Look at it again.")
        plan = plans.get_plan(session, scope, plan_id)
        changes = [
            *quantity_changes(plan, wanted.quantities, moment, when.reason),
            *override_changes(session, scope, held, plan, wanted.overrides, moment, when.reason, when.now),
        ]
        held = _write(session, scope, held, changes, when)
    if wanted.ends:
        held = _end_at(session, scope, held, wanted.end_date, when)
    return held


def first_terms(
    session: Session,
    scope: Scope,
    subscription: SubscriptionRecord,
    quantities: Sequence[NewQuantity],
    overrides: Sequence[NewOverride],
    when: When,
) -> SubscriptionRecord:
    """Seats and special prices that a new subscription begins with. Errors as in `change_terms`."""
    if not quantities and not overrides:
        return subscription
    price_changes.hold_prices(session, scope, subscription.plan_id)
    plan = plans.get_plan(session, scope, subscription.plan_id)
    start = subscription.start_date
    changes = [
        *quantity_changes(plan, quantities, start, when.reason),
        *override_changes(session, scope, subscription, plan, overrides, start, when.reason, when.now),
    ]
    return _write(session, scope, subscription, changes, when)


def withdraw_change(
    session: Session, scope: Scope, subscription_id: str, when: When, sequence: int
) -> SubscriptionRecord:
    """Takes back a change that has not taken effect yet.

    NotFound `subscription_not_found`, `change_not_found`; Conflict `change_in_effect`, `change_withdrawn`.
    """
    held = subscriptions.hold_subscription(session, scope, subscription_id)
    change = next((each for each in held.history if each.sequence == sequence), None)
    if change is None or change.withdraws is not None:
        raise NotFound("change_not_found", "there is no such change", field="sequence")
    if change not in in_force(held.history):
        raise Conflict("change_withdrawn", "it is withdrawn already", field="sequence")
    if change.effective_at <= when.now:
        raise Conflict(
            "change_in_effect",
            f"it has been in effect since {format_instant(change.effective_at)}",
            field="sequence",
            hint="Make another change.",
        )
    if change.kind is ChangeKind.CANCELLED:
        end = _end_before(change) if change == _cancellations(held)[-1] else held.end_date
        return _take_back(session, scope, held, [sequence], end, when)
    withdrawal = NewChange(ChangeKind.CHANGE_WITHDRAWN, when.now, withdraws=sequence, reason=when.reason)
    return _append(session, scope, held, [withdrawal], when)


def _moment(subscription: SubscriptionRecord, when: When) -> datetime:
    """The moment that `effective` means, within the subscription's time."""
    _require_running(subscription, when.now)
    present = max(when.now, subscription.start_date)
    match when.effective:
        case "now":
            return present
        case "period_end":
            period = subscription.period_at(present)
            return present if period is None else period.end
    moment = when.effective
    if moment < subscription.start_date:
        raise InvalidInput(
            "before_start",
            f"lies before the subscription's start at {format_instant(subscription.start_date)}",
            field="effective",
            hint="Use a later moment.",
        )
    return moment


def _require_running(subscription: SubscriptionRecord, now: datetime) -> None:
    if subscription.life().status_at(now) is SubscriptionStatus.CANCELLED:
        raise Conflict(
            "subscription_cancelled",
            f"the subscription ended at {format_instant(subscription.end_date or now)}",
            hint="Subscribe anew with POST /api/v1/subscriptions.",
        )


def _is_paused(subscription: SubscriptionRecord, moment: datetime) -> bool:
    return subscription.life().segment_at(moment).why is SubscriptionStatus.PAUSED


def _require_compatible(subscription: SubscriptionRecord, plan: PlanRecord) -> None:
    mine, theirs = parse_interval(subscription.interval), parse_interval(plan.interval)
    if plan.currency != subscription.currency or (mine.months, mine.days) != (theirs.months, theirs.days):
        raise Conflict(
            "plan_not_compatible",
            f"the subscription is billed in {subscription.currency} every {subscription.interval}, "
            f"the plan in {plan.currency} every {plan.interval}",
            field="plan_id",
            hint="Cancel the subscription, and subscribe to the plan anew.",
        )


def _write(
    session: Session, scope: Scope, held: SubscriptionRecord, changes: Sequence[NewChange], when: When
) -> SubscriptionRecord:
    """Adds changes that bill from their moment on, all at the same one."""
    if not changes:
        return held
    moment = changes[0].effective_at
    if held.end_date is not None and moment >= held.end_date:
        raise Conflict(
            "subscription_cancelled",
            f"the subscription ends at {format_instant(held.end_date)}",
            field="effective",
            hint="Use an earlier moment.",
        )
    _require_open(session, scope, held, moment)
    return _append(session, scope, held, changes, when)


def _append(
    session: Session, scope: Scope, held: SubscriptionRecord, changes: Sequence[NewChange], when: When
) -> SubscriptionRecord:
    changed = subscriptions.change_subscription(session, scope, held, changes, when.actor, when.now)
    for change in changes:
        detail = {"effective_at": format_instant(change.effective_at), "reason": change.reason, **change.values}
        action = f"subscription.{change.kind.value}"
        audit.write(session, scope, when.actor, action, "subscription", held.id, detail, when.now)
    ask_mirror(session, scope, "subscription", held.id, when.now)
    return changed


def _require_open(session: Session, scope: Scope, held: SubscriptionRecord, moment: datetime) -> None:
    """Conflict `period_finalized` where a final or void invoice bills the moment or what comes after it."""
    last = invoices.last_closed_end(session, scope, held.id)
    if last is not None and moment < last:
        raise Conflict(
            "period_finalized",
            "reaches into a period whose invoice is final and never changes",
            field="effective",
            hint=f"Use {format_instant(last)} or later, and correct what was billed with a credit note or an "
            "adjustment on a later invoice.",
        )


def _end(session: Session, scope: Scope, held: SubscriptionRecord, end: datetime, when: When) -> SubscriptionRecord:
    _require_open(session, scope, held, end if held.end_date is None else min(end, held.end_date))
    values = {"end_date": end.isoformat(), "previous_end_date": held.end_date and held.end_date.isoformat()}
    ended = _append(session, scope, held, [NewChange(ChangeKind.CANCELLED, end, values, reason=when.reason)], when)
    invoices.cut_drafts(session, scope, held.id, end, when.now)
    return ended


def _end_at(
    session: Session, scope: Scope, held: SubscriptionRecord, end: datetime | None, when: When
) -> SubscriptionRecord:
    if end == held.end_date:
        return held
    _require_running(held, when.now)
    if end is None:
        sequences: list[int | None] = [change.sequence for change in _cancellations(held)]
        # An end that came with the subscription is no cancellation: there is nothing to name.
        sequences = sequences or [None]
        return _take_back(session, scope, held, sequences, None, when)
    if end <= held.start_date:
        raise InvalidInput(
            "end_before_start", "The end must come after the start.", field="end_date", hint="Use a later end_date."
        )
    return _end(session, scope, held, end, when)


def _take_back(
    session: Session,
    scope: Scope,
    held: SubscriptionRecord,
    sequences: Sequence[int | None],
    end: datetime | None,
    when: When,
) -> SubscriptionRecord:
    """Withdraws cancellations, after which the subscription ends at `end`, or not at all."""
    values = {"end_date": None if end is None else end.isoformat()}
    changes = [
        NewChange(ChangeKind.CANCELLATION_WITHDRAWN, when.now, values, sequence, when.reason) for sequence in sequences
    ]
    return _append(session, scope, held, changes, when)


def _cancellations(held: SubscriptionRecord) -> list[ChangeRecord]:
    """Those that nobody has withdrawn, in the order in which they were made."""
    return [
        change for change in held.history if change.kind is ChangeKind.CANCELLED and change in in_force(held.history)
    ]


def _end_before(cancellation: ChangeRecord) -> datetime | None:
    """Where the subscription was to end before it was cancelled."""
    end = cancellation.values["previous_end_date"]
    return None if end is None else datetime.fromisoformat(end)
