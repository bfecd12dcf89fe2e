"""The environment of a key: how it is billed, and when its usage is late."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import ConfigDict, Field

from api.schemas.common import Model, any_case
from billing.line_adjustment import Treatment
from ledger.store.tenants import EnvironmentRecord

__all__ = ["EnvironmentChangesIn", "EnvironmentOut"]

_LONGEST_GRACE = 31 * 24 * 3600
_SHORTEST_FRESHNESS = 60
_LATE_EVENTS = (
    "How events are billed that came after their invoice was final. `next_invoice`: as lines of the next invoice. "
    "`credit_note`: what is too much goes back by a credit note at once, the rest is on the next invoice. "
    "`separate_invoice`: what is missing is an invoice of its own at once, what is too much a credit note."
)

BillingGrace = Annotated[
    int,
    Field(
        strict=True,
        ge=0,
        le=_LONGEST_GRACE,
        description="So long after its end a period is billed by itself: 31 days at most.",
    ),
]
UsageFreshness = Annotated[
    int,
    Field(
        strict=True,
        ge=_SHORTEST_FRESHNESS,
        le=_LONGEST_GRACE,
        description="Events that have waited for so long to be rolled up are reported as late; a minute at least.",
    ),
]
LateEvents = Annotated[Treatment, any_case()]


class EnvironmentChangesIn(Model):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"billing_grace_seconds": 7200},
                {"usage_freshness_seconds": 1800},
                {"late_events": "next_invoice"},
            ]
        }
    )

    billing_grace_seconds: BillingGrace | None = None
    usage_freshness_seconds: UsageFreshness | None = None
    late_events: LateEvents | None = Field(default=None, description=_LATE_EVENTS)

    @property
    def said(self) -> dict[str, int | str]:
        """What is to change; a field that is left out or null stays as it is."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def billing_grace(self) -> timedelta | None:
        return None if self.billing_grace_seconds is None else timedelta(seconds=self.billing_grace_seconds)

    @property
    def usage_freshness(self) -> timedelta | None:
        return None if self.usage_freshness_seconds is None else timedelta(seconds=self.usage_freshness_seconds)


class EnvironmentOut(Model):
    id: str
    name: str
    kind: str
    timezone: str
    billing_grace_seconds: int
    usage_freshness_seconds: int
    late_events: Treatment = Field(description=_LATE_EVENTS)

    @classmethod
    def of(cls, record: EnvironmentRecord) -> Self:
        return cls(
            id=record.id,
            name=record.name,
            kind=record.kind,
            timezone=record.timezone,
            billing_grace_seconds=int(record.billing_grace.total_seconds()),
            usage_freshness_seconds=int(record.usage_freshness.total_seconds()),
            late_events=record.late_events,
        )
