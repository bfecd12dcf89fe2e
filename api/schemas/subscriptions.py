"""Subscriptions: a customer on a plan from a date."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from api.schemas.common import CustomerRef, Instant, Metadata, Model, Slug, TimezoneName, any_case, read_instant
from api.schemas.paging import Paging
from api.schemas.plans import BillingPeriod
from billing.period import BillingAnchor, Period, Schedule, parse_interval
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps.create_subscription import NewSubscription

__all__ = ["PeriodsOut", "SubscriptionFilters", "SubscriptionIn", "SubscriptionOut", "SubscriptionPreviewIn"]

CollectionMethod = Annotated[Literal["charge_automatically", "send_invoice"], any_case()]
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
    billing_anchor: Anchor = "subscription_start"
    collection_method: CollectionMethod = "charge_automatically"
    timezone: TimezoneName | None = Field(default=None, description="The customer's or environment's when left out.")
    metadata: Metadata = Field(default_factory=dict)

    def new_subscription(self) -> NewSubscription:
        return NewSubscription(**dict(self))


class SubscriptionFilters(Paging):
    customer_id: CustomerRef | None = None
    plan_id: Slug | None = None
    status: (
        Annotated[Literal["scheduled", "trialing", "active", "paused", "cancelled"], any_case(canceled="cancelled")]
        | None
    ) = None


class SubscriptionOut(Model):
    id: str
    customer_id: str
    plan_id: str
    status: str
    start_date: Instant
    end_date: Instant | None
    current_period_start: Instant
    current_period_end: Instant
    billing_anchor: str
    timezone: str
    currency: str
    collection_method: str
    metadata: dict[str, str]
    created_at: Instant

    @classmethod
    def of(cls, record: SubscriptionRecord, now: datetime) -> Self:
        period = record.schedule().period_at(_moment_of_interest(record, now))
        life = record.life()
        return cls(
            id=record.id,
            customer_id=record.customer_id,
            plan_id=life.segment_at(now).plan_id,
            status=life.status_at(now).value,
            start_date=record.start_date,
            end_date=record.end_date,
            current_period_start=period.start,
            current_period_end=period.end,
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


def _moment_of_interest(record: SubscriptionRecord, now: datetime) -> datetime:
    """Now; the start of one that is still to come, the end of one that is over."""
    if record.end_date is not None and record.end_date < now:
        return max(record.end_date, record.start_date)
    return max(now, record.start_date)
