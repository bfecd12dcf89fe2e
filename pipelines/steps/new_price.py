"""What a price has to be to join a plan: in the plan's currency and period, for a feature that can be counted."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from billing.errors import Conflict, InvalidInput, NotFound, join
from billing.period import parse_interval
from billing.price import Price
from billing.scope import Scope
from ledger.store import features
from ledger.store.features import FeatureRecord
from ledger.store.plans import PlanTerms
from ledger.store.price_changes import NewPrice

__all__ = ["NewPlanPrice", "new_price", "require_plan_terms"]


@dataclass(frozen=True)
class NewPlanPrice:
    """A price as it was asked for; what is None comes from the plan or the feature."""

    price: Price
    feature_id: str | None
    display_name: str | None
    currency: str | None
    billing_period: str | None


def new_price(session: Session, scope: Scope, plan: PlanTerms, wanted: NewPlanPrice, field: str = "") -> NewPrice:
    """The price as it is stored; its feature is named by id or key.

    Errors, all with their field below `field`: InvalidInput `price_currency_differs`, `price_period_differs`,
    `feature_needed`, `feature_not_metered`, NotFound `feature_not_found`, Conflict `feature_archived`.
    """
    require_plan_terms(plan, wanted.currency, wanted.billing_period, field)
    feature = _feature(session, scope, wanted, join(field, "feature_id"))
    name = wanted.display_name or (feature.name if feature else plan.name)
    return NewPrice(feature.id if feature else None, name, wanted.price)


def require_plan_terms(plan: PlanTerms, currency: str | None, billing_period: str | None, field: str = "") -> None:
    """InvalidInput `price_currency_differs`, `price_period_differs`: a plan has one of each."""
    if currency is not None and currency != plan.currency:
        raise InvalidInput(
            "price_currency_differs",
            f"The plan is in {plan.currency}, this price in {currency}.",
            field=join(field, "currency"),
            hint="Leave it out, or make a plan per currency.",
        )
    if billing_period is not None and parse_interval(billing_period, join(field, "billing_period")) != parse_interval(
        plan.billing_period
    ):
        raise InvalidInput(
            "price_period_differs",
            f"The plan is billed {plan.billing_period}, this price {billing_period}.",
            field=join(field, "billing_period"),
            hint="Leave it out, or make a plan per billing period.",
        )


def _feature(session: Session, scope: Scope, wanted: NewPlanPrice, field: str) -> FeatureRecord | None:
    if wanted.feature_id is None:
        if not wanted.price.is_flat:
            raise InvalidInput(
                "feature_needed",
                "Only a flat price can do without a feature: there is no usage to multiply.",
                field=field,
                hint="Name a metered feature.",
            )
        return None
    try:
        feature = features.get_feature(session, scope, wanted.feature_id)
        features.require_active(feature)
    except (NotFound, Conflict) as error:
        error.field = field
        raise
    if feature.meter_id is None and not wanted.price.is_flat:
        raise InvalidInput(
            "feature_not_metered",
            f"The feature {feature.key} has no meter, so its usage cannot be priced.",
            field=field,
            hint="Name a metered feature, or use a flat price.",
        )
    return feature
