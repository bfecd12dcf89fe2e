"""Prices as resources of their own: added to a plan, changed, archived, read in every version."""

from typing import Any, Self

from pydantic import ConfigDict, Field

from api.schemas.catalog_changes import TimingBody
from api.schemas.common import CurrencyIn, Instant, Model, Name, Slug
from api.schemas.paging import Paging
from api.schemas.plans import BillingPeriod, PlanPriceIn
from api.schemas.prices import TIERED_EXAMPLE, PriceBody, PriceTerms
from billing.price import PRICE_FIELDS, price_to_json
from pipelines.steps.change_prices import PriceChanges, PriceOfPlan

__all__ = ["PriceChangesIn", "PriceFilters", "PriceIn", "PriceOut"]

_FIXED = ("plan_id", "feature_id", "currency", "billing_period")


class PriceIn(PlanPriceIn, TimingBody):
    """A further price of a plan. Before anybody has subscribed it is as if it had come with the plan."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"plan_id": "professional_plan", "feature_id": "api_calls", **TIERED_EXAMPLE}]}
    )

    plan_id: Slug = Field(description="A plan's id or key.")


class PriceChangesIn(PriceTerms, TimingBody):
    """What is left out stays, null takes a field away; tiers and transform_quantity are replaced as a whole."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"unit_price": "0.012", "apply_to": "next_period"}]})

    display_name: Name | None = None
    plan_id: Slug | None = Field(default=None, description="Cannot change; may be repeated, as the three below.")
    feature_id: Slug | None = None
    currency: CurrencyIn | None = None
    billing_period: BillingPeriod | None = None

    def price_changes(self) -> PriceChanges:
        """What was sent, null included."""
        sent: dict[str, Any] = {**dict.fromkeys(self.model_fields_set), **self.model_dump(exclude_unset=True)}
        return PriceChanges(
            terms={name: value for name, value in sent.items() if name in PRICE_FIELDS},
            display_name=self.display_name,
            fixed={name: sent[name] for name in _FIXED if name in sent},
        )


class PriceFilters(Paging):
    plan_id: Slug | None = Field(default=None, description="A plan's id or key.")


class PriceOut(Model):
    """One version of a price. Currency and billing period are the plan's."""

    id: str
    version: int
    plan_id: str
    feature_id: str | None
    display_name: str
    currency: str
    billing_period: str
    price: PriceBody
    status: str
    effective_from: Instant
    apply_to: str = Field(
        description="`every_period` for what came with the plan, else `next_period` or `running_period`."
    )
    created_at: Instant
    subscription_id: str | None = Field(description="Of a price that one subscription has in place of the plan's.")
    overrides_price_id: str | None

    @classmethod
    def of(cls, found: PriceOfPlan) -> Self:
        record, plan = found.price, found.plan
        terms: dict[str, Any] = price_to_json(record.price)
        return cls(
            id=record.id,
            version=record.version,
            plan_id=record.plan_id,
            feature_id=record.feature_id,
            display_name=record.display_name,
            currency=plan.currency,
            billing_period=plan.billing_period,
            price=PriceBody.model_validate(terms),
            status=record.status.value,
            effective_from=record.effective_from,
            apply_to=record.apply_to.value,
            created_at=record.created_at,
            subscription_id=record.subscription_id,
            overrides_price_id=record.overrides,
        )
