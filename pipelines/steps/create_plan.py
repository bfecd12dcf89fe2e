"""Use case: a plan with its prices, whose features exist and whose currency and period are one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from billing.errors import InvalidInput, NotFound
from billing.money import exponent
from billing.period import parse_interval
from billing.price import Price
from billing.scope import Scope
from ledger.store import features, plans
from ledger.store.features import FeatureRecord
from ledger.store.plans import NewPrice, PlanRecord

__all__ = ["NewPlan", "NewPlanPrice", "create_plan"]


@dataclass(frozen=True)
class NewPlanPrice:
    """A price as it was asked for; what is None comes from the plan or the feature."""

    price: Price
    feature_id: str | None
    display_name: str | None
    currency: str | None
    billing_period: str | None


@dataclass(frozen=True)
class NewPlan:
    name: str
    key: str
    billing_period: str
    currency: str
    plan_type: str
    description: str | None
    prices: Sequence[NewPlanPrice]


def create_plan(session: Session, scope: Scope, plan: NewPlan, now: datetime) -> PlanRecord:
    """The plan as it is stored. A price names its feature by id or key.

    Errors: Conflict `plan_exists`; NotFound `feature_not_found`; InvalidInput `unknown_currency`, `unknown_interval`,
    `price_currency_differs`, `price_period_differs`, `feature_not_metered`, `feature_needed`; all with the field.
    """
    exponent(plan.currency)
    interval = parse_interval(plan.billing_period)
    prices = [_new_price(session, scope, plan, index) for index in range(len(plan.prices))]
    return plans.create_plan(
        session,
        scope,
        name=plan.name,
        key=plan.key,
        billing_period=plan.billing_period,
        interval=str(interval),
        currency=plan.currency,
        prices=prices,
        now=now,
        plan_type=plan.plan_type,
        description=plan.description,
    )


def _new_price(session: Session, scope: Scope, plan: NewPlan, index: int) -> NewPrice:
    wanted, field = plan.prices[index], f"prices[{index}]"
    if wanted.currency is not None and wanted.currency != plan.currency:
        raise InvalidInput(
            "price_currency_differs",
            f"The plan is in {plan.currency}, this price in {wanted.currency}.",
            field=f"{field}.currency",
            hint="Leave it out, or make a plan per currency.",
        )
    if wanted.billing_period is not None and parse_interval(wanted.billing_period) != parse_interval(
        plan.billing_period
    ):
        raise InvalidInput(
            "price_period_differs",
            f"The plan is billed {plan.billing_period}, this price {wanted.billing_period}.",
            field=f"{field}.billing_period",
            hint="Leave it out, or make a plan per billing period.",
        )
    feature = _feature(session, scope, wanted, field)
    name = wanted.display_name or (feature.name if feature else plan.name)
    return NewPrice(feature.id if feature else None, name, wanted.price)


def _feature(session: Session, scope: Scope, wanted: NewPlanPrice, field: str) -> FeatureRecord | None:
    if wanted.feature_id is None:
        if not wanted.price.is_flat:
            raise InvalidInput(
                "feature_needed",
                "Only a flat price can do without a feature: there is no usage to multiply.",
                field=f"{field}.feature_id",
                hint="Name a metered feature.",
            )
        return None
    try:
        feature = features.get_feature(session, scope, wanted.feature_id)
    except NotFound as error:
        error.field = f"{field}.feature_id"
        raise
    if feature.meter_id is None and not wanted.price.is_flat:
        raise InvalidInput(
            "feature_not_metered",
            f"The feature {feature.key} has no meter, so its usage cannot be priced.",
            field=f"{field}.feature_id",
            hint="Name a metered feature, or use a flat price.",
        )
    return feature
