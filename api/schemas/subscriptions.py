"""Subscriptions: a customer on a plan from a date."""

from datetime import datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from api.schemas.common import (
    CollectionMethod,
    CustomerRef,
    DecimalOut,
    Instant,
    Metadata,
    Model,
    Slug,
    TimezoneName,
    any_case,
    read_instant,
)
from api.schemas.paging import Paging
from api.schemas.plans import BillingPeriod
from api.schemas.subscription_changes import Overrides, Quantities, new_overrides, new_quantities
from billing.period import BillingAnchor, Period, Schedule, parse_interval
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps.create_subscription import NewSubscription

__all__ = ["PeriodsOut", "SubscriptionFilters", "SubscriptionIn", "SubscriptionOut", "SubscriptionPreviewIn"]

_TICK = timedelta(microseconds=1)
NAMED_ANCHORS = ("subscription_start", "calendar")


def _read_anchor(value: str) -> str:
    if value in NAMED_ANCHORS:
        return value
    try:
        return read_instant(value).isoformat()
    except PydanticCustomError as error:
        raise PydanticCustomError(
            "not_an_anchor", "Write subscription_start, calendar, or an RFC 3339 time that fixes the grid."
        ) from error


Anchor = Annotated[
    str,
    any_case(),
    AfterValidator(_read_anchor),
    WithJsonSchema(
        {
            "anyOf": [{"enum": [*NAMED_ANCHORS]}, {"type": "string", "format": "date-time"}],
            "description": "What periods are counted from: the start, the calendar, or a moment that fixes the grid.",
        }
    ),
]


class SubscriptionIn(Model):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "customer_id": "acme_corp_001",
                    "plan_id": "professional_plan",
                    "start_date": "2024-01-20T00:00:00Z",
                    "billing_anchor": "subscription_start",
                    "collection_method": "charge_automatically",
                    "metadata": {"contract_id": "CNT-2024-001"},
                }
            ]
        }
    )

    customer_id: CustomerRef
    plan_id: Slug = Field(description="A plan's id or key.")
    start_date: Instant | None = Field(default=None, description="Now when left out.")
    end_date: Instant | None = None
    trial_end: Instant | None = Field(default=None, description="Time before it is not billed.")
    trial_days: Annotated[int, Field(strict=True, ge=1, le=3650)] | None = Field(
        default=None, description="In place of trial_end: whole local days from the start."
    )
    quantities: Quantities = Field(default_factory=list, description="Seats of the plan's flat prices, else 1.")
    price_overrides: Overrides = Field(default_factory=list, description="Other terms for prices of the plan.")
    billing_anchor: Anchor = "subscription_start"
    collection_method: CollectionMethod = "charge_automatically"
    timezone: TimezoneName | None = Field(default=None, description="The customer's or environment's when left out.")
    metadata: Metadata = Field(default_factory=dict)

    def new_subscription(self) -> NewSubscription:
        sent = {name: value for name, value in dict(self).items() if name != "price_overrides"}
        sent["quantities"] = new_quantities(self.quantities)
        return NewSubscription(**sent, overrides=new_overrides(self.price_overrides))


class SubscriptionFilters(Paging):
    customer_id: CustomerRef | None = None
    plan_id: Slug | None = None
    status: (
        Annotated[Literal["scheduled", "trialing", "active", "paused", "cancelled"], any_case(canceled="cancelled")]
        | None
    ) = None


class QuantityOut(Model):
    price_id: str
    quantity: DecimalOut


class OverrideOut(Model):
    """A price of the plan, and the price that stands in for it: `GET /api/v1/prices/{id}` reads it."""

    price_id: str
    override_id: str
    override_version: int


class SubscriptionOut(Model):
    """`plan_id`, `quantities` and `price_overrides` are those of this moment, or of the start while that is ahead."""

    id: str
    customer_id: str
    plan_id: str
    status: str = Field(description="`scheduled`, `trialing`, `active`, `paused` or `cancelled`.")
    start_date: Instant
    end_date: Instant | None
    trial_end: Instant | None
    current_period_start: Instant
    current_period_end: Instant
    quantities: list[QuantityOut]
    price_overrides: list[OverrideOut]
    billing_anchor: str
    timezone: str
    currency: str
    collection_method: str
    metadata: dict[str, str]
    created_at: Instant

    @classmethod
    def of(cls, record: SubscriptionRecord, now: datetime) -> Self:
        period = _period_of_interest(record, now)
        life = record.life()
        held = life.segment_at(now)
        return cls(
            id=record.id,
            customer_id=record.customer_id,
            plan_id=held.plan_id,
            status=life.status_at(now).value,
            start_date=record.start_date,
            end_date=record.end_date,
            trial_end=record.trial_end,
            current_period_start=period.start,
            current_period_end=period.end,
            quantities=[QuantityOut(price_id=key, quantity=value) for key, value in sorted(held.quantities.items())],
            price_overrides=[
                OverrideOut(price_id=key, override_id=value.price_id, override_version=value.version)
                for key, value in sorted(held.overrides.items())
            ],
            billing_anchor=record.billing_anchor,
            timezone=record.timezone,
            currency=record.currency,
            collection_method=record.collection_method,
            metadata=record.metadata,
            created_at=record.created_at,
        )


class SubscriptionPreviewIn(Model):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "billing_anchor": "subscription_start",
                    "start_date": "2024-01-31T00:00:00Z",
                    "billing_period": "monthly",
                    "timezone": "UTC",
                    "at": "2024-03-01T00:00:00Z",
                }
            ]
        }
    )

    start_date: Instant
    billing_anchor: Anchor = "subscription_start"
    billing_period: BillingPeriod = "monthly"
    timezone: TimezoneName = "UTC"
    at: Instant | None = Field(default=None, description="Now when left out.")

    def schedule(self) -> Schedule:
        """The rules asked about. Errors: InvalidInput with the field."""
        named = self.billing_anchor in NAMED_ANCHORS
        anchor: BillingAnchor = self.billing_anchor if named else datetime.fromisoformat(self.billing_anchor)  # type: ignore[assignment]
        return Schedule(self.start_date, parse_interval(self.billing_period), anchor, self.timezone)


class PeriodsOut(Model):
    """Half-open periods: the start is inside, the end is not. There is no period before the first one."""

    current_period_start: Instant
    current_period_end: Instant
    previous_period_start: Instant | None
    previous_period_end: Instant | None

    @classmethod
    def of(cls, schedule: Schedule, at: datetime) -> Self:
        current = schedule.period_at(at)
        previous: Period | None = schedule.previous(current)
        return cls(
            current_period_start=current.start,
            current_period_end=current.end,
            previous_period_start=previous.start if previous else None,
            previous_period_end=previous.end if previous else None,
        )


def _period_of_interest(record: SubscriptionRecord, now: datetime) -> Period:
    """The running period; the first of one that is still to come, the last of one that is over."""
    moment = max(now, record.start_date)
    if record.end_date is not None and record.end_date <= moment:
        moment = max(record.end_date - _TICK, record.start_date)
    return record.period_at(moment) or record.schedule().period_at(moment)
