"""Plans: prices with a billing period and a currency."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints

from api.schemas.catalog_changes import TextChangesIn
from api.schemas.common import CurrencyIn, Instant, LongText, Model, Name, Slug, any_case
from api.schemas.prices import TIERED_EXAMPLE, PriceBody
from billing.price import price_to_json
from ledger.store.plans import PlanRecord, PriceRecord
from pipelines.steps.create_plan import NewPlan
from pipelines.steps.new_price import NewPlanPrice

__all__ = ["BillingPeriod", "PlanChangesIn", "PlanIn", "PlanOut", "PlanPriceIn", "PlanPriceOut"]

BillingPeriod = Annotated[
    str,
    StringConstraints(min_length=2, max_length=20, pattern=r"^[A-Za-z0-9_-]+$"),
    Field(
        description="`daily`, `weekly`, `monthly`, `quarterly`, `half_yearly`, `yearly` or an ISO 8601 duration: P1M.",
        examples=["monthly", "P3M"],
    ),
]

PlanType = Annotated[Literal["recurring"], any_case()]
TierProgress = Annotated[
    Literal["reset", "continue"],
    any_case(),
    Field(
        description="After a change to this plan within a period: its usage prices begin in the first tier, or go on "
        "where the usage of the period has got to."
    ),
]


class PlanPriceIn(PriceBody):
    """A price of a plan. Currency and billing period are the plan's; when repeated they must be the same."""

    feature_id: Slug | None = Field(default=None, description="A feature's id or key; a flat fee needs none.")
    display_name: Name | None = Field(default=None, description="On invoices; the feature's or plan's name if absent.")
    currency: CurrencyIn | None = None
    billing_period: BillingPeriod | None = None

    def new_price(self, field: str = "") -> NewPlanPrice:
        """The price that is asked for, checked. Errors: InvalidInput with the field below `field`."""
        return NewPlanPrice(
            price=self.price(field),
            feature_id=self.feature_id,
            display_name=self.display_name,
            currency=self.currency,
            billing_period=self.billing_period,
        )


class PlanIn(Model):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Professional Plan",
                    "key": "professional_plan",
                    "billing_period": "monthly",
                    "currency": "USD",
                    "plan_type": "recurring",
                    "prices": [{"feature_id": "api_calls", **TIERED_EXAMPLE}],
                }
            ]
        }
    )

    name: Name
    key: Slug
    billing_period: BillingPeriod = "monthly"
    currency: CurrencyIn = "USD"
    plan_type: PlanType = "recurring"
    description: LongText | None = None
    tier_progress: TierProgress = "reset"
    prices: list[PlanPriceIn] = Field(min_length=1, max_length=100)

    def new_plan(self) -> NewPlan:
        """The plan that is asked for, its prices checked. Errors: InvalidInput with the field below `prices[i]`."""
        return NewPlan(
            name=self.name,
            key=self.key,
            billing_period=self.billing_period,
            currency=self.currency,
            plan_type=self.plan_type,
            description=self.description,
            tier_progress=self.tier_progress,
            prices=[each.new_price(f"prices[{index}]") for index, each in enumerate(self.prices)],
        )


class PlanChangesIn(TextChangesIn):
    key: Slug | None = None
    billing_period: BillingPeriod | None = None
    currency: CurrencyIn | None = None
    plan_type: PlanType | None = None
    tier_progress: TierProgress | None = None


class PlanPriceOut(Model):
    """`price` holds the terms in their canonical form, decimals as strings."""

    id: str
    version: int
    feature_id: str | None
    display_name: str
    price: PriceBody

    @classmethod
    def of(cls, record: PriceRecord) -> Self:
        terms: dict[str, Any] = price_to_json(record.price)
        return cls(
            id=record.id,
            version=record.version,
            feature_id=record.feature_id,
            display_name=record.display_name,
            price=PriceBody.model_validate(terms),
        )


class PlanOut(Model):
    """`prices` are those in force now; `GET /api/v1/prices` lists archived ones and those to come as well."""

    id: str
    version: int
    name: str
    key: str
    billing_period: str
    currency: str
    plan_type: str
    status: str
    description: str | None
    tier_progress: str
    prices: list[PlanPriceOut]
    created_at: Instant

    @classmethod
    def of(cls, record: PlanRecord) -> Self:
        return cls(
            id=record.id,
            version=record.version,
            name=record.name,
            key=record.key,
            billing_period=record.billing_period,
            currency=record.currency,
            plan_type=record.plan_type,
            status=record.status,
            description=record.description,
            tier_progress=record.tier_progress,
            prices=[PlanPriceOut.of(price) for price in record.prices],
            created_at=record.created_at,
        )
