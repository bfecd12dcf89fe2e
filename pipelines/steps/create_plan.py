"""Use case: a plan with its prices, whose features exist and whose currency and period are one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from billing.money import currency_in_use
from billing.period import parse_interval
from billing.scope import Scope
from ledger.store import plans
from ledger.store.plans import PlanRecord, PlanTerms
from pipelines.steps.ask_mirror import ask_mirror
from pipelines.steps.new_price import NewPlanPrice, new_price

__all__ = ["NewPlan", "create_plan"]


@dataclass(frozen=True)
class NewPlan:
    name: str
    key: str
    billing_period: str
    currency: str
    plan_type: str
    description: str | None
    prices: Sequence[NewPlanPrice]
    tier_progress: str = "reset"


def create_plan(session: Session, scope: Scope, plan: NewPlan, now: datetime) -> PlanRecord:
    """The plan as it is stored. Its prices hold in every period, also in those of before it was entered.

    Errors: Conflict `plan_exists`; InvalidInput `unknown_currency`, `currency_withdrawn`, `bad_interval`; those of
    `new_price`, below `prices[i]`.
    """
    currency_in_use(plan.currency)
    interval = parse_interval(plan.billing_period)
    terms = PlanTerms(plan.name, plan.currency, plan.billing_period)
    made = plans.create_plan(
        session,
        scope,
        name=plan.name,
        key=plan.key,
        billing_period=plan.billing_period,
        interval=str(interval),
        currency=plan.currency,
        prices=[
            new_price(session, scope, terms, wanted, f"prices[{index}]") for index, wanted in enumerate(plan.prices)
        ],
        now=now,
        plan_type=plan.plan_type,
        description=plan.description,
        tier_progress=plan.tier_progress,
    )
    ask_mirror(session, scope, "plan", made.id, now)
    return made
