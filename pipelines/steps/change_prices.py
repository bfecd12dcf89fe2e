"""Use cases: adding a price to a plan, changing one, and archiving one, each as a version that says when it bills.

Who did it (`actor`, a key's id) stands in the audit log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from billing.errors import InvalidInput
from billing.instant import format_instant
from billing.price import revise_price
from billing.price_version import ApplyTo, PriceStatus
from billing.scope import Scope
from ledger.store import audit, plans, price_changes, prices, subscription_dues
from ledger.store.plans import PlanTerms
from ledger.store.prices import PriceRecord
from pipelines.steps.ask_mirror import ask_mirror
from pipelines.steps.close_periods import LOOKS_BACK
from pipelines.steps.new_price import NewPlanPrice, new_price, require_plan_terms

__all__ = ["PriceChanges", "PriceOfPlan", "Timing", "add_price", "archive_price", "change_price", "with_plans"]

MOST_PRICES = 100
"""Of a plan, archived ones not counted: as many as it can be created with."""


@dataclass(frozen=True)
class Timing:
    """From when a change holds (None: see `price_changes.timing_of`), and whether it bills the running period."""

    effective_from: datetime | None = None
    apply_to: ApplyTo = ApplyTo.NEXT_PERIOD


@dataclass(frozen=True)
class PriceChanges:
    """`terms` are fields of the price's JSON, null to take one away; `fixed` cannot change and may only be repeated."""

    terms: Mapping[str, Any]
    display_name: str | None
    fixed: Mapping[str, str | None]


@dataclass(frozen=True)
class PriceOfPlan:
    """A price with what it takes from its plan."""

    price: PriceRecord
    plan: PlanTerms


def with_plans(session: Session, scope: Scope, found: Sequence[PriceRecord]) -> list[PriceOfPlan]:
    """The prices with their plans' terms."""
    terms = plans.terms_of(session, scope, {price.plan_id for price in found})
    return [PriceOfPlan(price, terms[price.plan_id]) for price in found]


def add_price(
    session: Session, scope: Scope, actor: str, plan_id: str, wanted: NewPlanPrice, timing: Timing, now: datetime
) -> PriceOfPlan:
    """A further price of a plan, named by id or key.

    NotFound `plan_not_found`; Conflict `plan_archived`, `period_finalized`; InvalidInput `too_many_prices`; those of
    `new_price`.
    """
    price_changes.hold_prices(session, scope, plans.get_plan(session, scope, plan_id).id)
    plan = plans.get_plan(session, scope, plan_id)
    plans.require_active(plan)
    if sum(price.status is PriceStatus.ACTIVE for price in plan.prices) >= MOST_PRICES:
        raise InvalidInput("too_many_prices", f"has {MOST_PRICES} prices already", field="plan_id")
    terms = PlanTerms(plan.name, plan.currency, plan.billing_period)
    new = new_price(session, scope, terms, wanted)
    added = price_changes.add_price(session, scope, plan.id, new, now, timing.effective_from, timing.apply_to)
    _note(session, scope, actor, "price.added", added, now)
    return PriceOfPlan(added, terms)


def change_price(
    session: Session, scope: Scope, actor: str, price_id: str, changes: PriceChanges, timing: Timing, now: datetime
) -> PriceOfPlan:
    """The next version of a price: the one in force at `effective_from` with the changes made to it.

    NotFound `price_not_found`; InvalidInput `fixed_field`, `pricing_unit_fixed` and those of a price; Conflict
    `price_archived`, `price_of_subscription`, `period_finalized`.
    """
    price_changes.hold_prices(session, scope, prices.get_price(session, scope, price_id).plan_id)
    latest = prices.get_price(session, scope, price_id)
    price_changes.require_of_plan(latest)
    start, apply_to = price_changes.timing_of(session, scope, price_id, timing.effective_from, timing.apply_to, now)
    base = prices.version_at(session, scope, price_id, start)
    plan = plans.terms_of(session, scope, [base.plan_id])[base.plan_id]
    _require_same(base, plan, changes.fixed)
    revised = price_changes.revise_price(
        session,
        scope,
        price_id,
        revise_price(base.price, changes.terms),
        start,
        now,
        apply_to,
        changes.display_name,
    )
    if revised.version > latest.version:
        _note(session, scope, actor, "price.changed", revised, now)
    return PriceOfPlan(revised, plan)


def archive_price(
    session: Session, scope: Scope, actor: str, price_id: str, timing: Timing, now: datetime
) -> PriceOfPlan:
    """Ends a price; again, it stays as it is.

    NotFound `price_not_found`; Conflict `price_of_subscription`, `period_finalized`.
    """
    price_changes.hold_prices(session, scope, prices.get_price(session, scope, price_id).plan_id)
    latest = prices.get_price(session, scope, price_id)
    price_changes.require_of_plan(latest)
    start, apply_to = price_changes.timing_of(session, scope, price_id, timing.effective_from, timing.apply_to, now)
    ended = price_changes.archive_price(session, scope, price_id, start, now, apply_to)
    if ended.version > latest.version:
        _note(session, scope, actor, "price.archived", ended, now)
    return with_plans(session, scope, [ended])[0]


def _note(session: Session, scope: Scope, actor: str, action: str, price: PriceRecord, now: datetime) -> None:
    detail = {
        "version": price.version,
        "effective_from": format_instant(price.effective_from),
        "apply_to": price.apply_to.value,
    }
    audit.write(session, scope, actor, action, "price", price.id, detail, now)
    subscription_dues.look_again_at_starts(session, scope, now - LOOKS_BACK - timedelta(days=1))
    ask_mirror(session, scope, "plan", price.plan_id, now)


def _require_same(price: PriceRecord, plan: PlanTerms, fixed: Mapping[str, str | None]) -> None:
    for name, known in (("plan_id", {price.plan_id, None}), ("feature_id", {price.feature_id})):
        if name in fixed and fixed[name] not in known:
            raise InvalidInput(
                "fixed_field",
                "cannot change",
                field=name,
                hint="Archive this price and add another one: what was billed stays what it was.",
            )
    require_plan_terms(plan, fixed.get("currency"), fixed.get("billing_period"))
