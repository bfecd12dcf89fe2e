"""Use case: a customer on a plan from a date, in the time zone that is nearest to the customer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from billing.errors import InvalidInput
from billing.period import Interval, IntervalUnit, Schedule
from billing.scope import Scope
from ledger.store import customers, plans, subscriptions, tenants
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps.ask_mirror import ask_mirror
from pipelines.steps.change_subscription import When, first_terms
from pipelines.steps.subscription_terms import NewOverride, NewQuantity

__all__ = ["NewSubscription", "create_subscription"]


@dataclass(frozen=True)
class NewSubscription:
    """`customer_id` ours or external, `plan_id` id or key; without `start_date` it starts now."""

    customer_id: str
    plan_id: str
    start_date: datetime | None
    end_date: datetime | None
    billing_anchor: str
    collection_method: str
    timezone: str | None
    metadata: Mapping[str, str] = field(default_factory=dict)
    trial_end: datetime | None = None
    trial_days: int | None = None
    quantities: Sequence[NewQuantity] = ()
    overrides: Sequence[NewOverride] = ()


def create_subscription(
    session: Session, scope: Scope, wanted: NewSubscription, actor: str, now: datetime
) -> SubscriptionRecord:
    """The subscription as it is stored.

    Errors: NotFound `customer_not_found`, `plan_not_found`; Conflict `plan_archived`; InvalidInput `end_before_start`,
    `customer_currency_differs`, `unknown_timezone`, `trial_given_twice`, `trial_end_before_start`, and those of a
    quantity or an override.
    """
    customer = customers.get_customer(session, scope, wanted.customer_id)
    plan = plans.get_plan(session, scope, wanted.plan_id)
    plans.require_active(plan)
    start = wanted.start_date or now
    if wanted.end_date is not None and wanted.end_date <= start:
        raise InvalidInput(
            "end_before_start", "The end must come after the start.", field="end_date", hint="Use a later end_date."
        )
    # The provider allows a customer one currency; finding out at the first invoice would be too late.
    if customer.currency is not None and customer.currency != plan.currency:
        raise InvalidInput(
            "customer_currency_differs",
            f"The customer is billed in {customer.currency}, the plan is in {plan.currency}.",
            field="plan_id",
            hint=f"Use a plan in {customer.currency}.",
        )
    timezone = wanted.timezone or customer.timezone or tenants.get_environment(session, scope).timezone
    made = subscriptions.create_subscription(
        session,
        scope,
        customer_id=customer.id,
        plan_id=plan.id,
        start_date=start,
        end_date=wanted.end_date,
        trial_end=_trial_end(wanted, start, timezone),
        billing_anchor=wanted.billing_anchor,
        collection_method=wanted.collection_method,
        timezone=timezone,
        metadata=wanted.metadata,
        now=now,
    )
    ask_mirror(session, scope, "subscription", made.id, now)
    when = When(made.start_date, None, actor, now)
    return first_terms(session, scope, made, wanted.quantities, wanted.overrides, when)


def _trial_end(wanted: NewSubscription, start: datetime, timezone: str) -> datetime | None:
    if wanted.trial_days is not None:
        if wanted.trial_end is not None:
            raise InvalidInput(
                "trial_given_twice", "comes in place of trial_end", field="trial_days", hint="Send one of them."
            )
        days = Interval(IntervalUnit.DAY, wanted.trial_days)
        return Schedule(start, days, timezone=timezone).period_at(start).end
    if wanted.trial_end is not None and wanted.trial_end <= start:
        raise InvalidInput(
            "trial_end_before_start",
            "The trial must end after the start.",
            field="trial_end",
            hint="Use a later trial_end, or leave it out.",
        )
    return wanted.trial_end
