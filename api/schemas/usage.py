"""Usage questions and answers."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field

from api.schemas.common import CustomerRef, DecimalOut, Instant, Model, Slug, TimezoneName, any_case
from warehouse_sql.usage import UsageAnswer, UsageRow

__all__ = ["ServedBy", "UsageIn", "UsageOut", "UsageRowOut"]


class UsageIn(Model):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "meter_id": "meter_api_requests",
                    "customer_id": "acme_corp_001",
                    "start_time": "2024-01-20T00:00:00Z",
                    "end_time": "2024-02-20T00:00:00Z",
                }
            ]
        }
    )

    meter_id: Slug
    customer_id: CustomerRef | None = None
    customer_ids: list[CustomerRef] | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="Several customers. All of them when both are left out.",
    )
    start_time: Instant
    end_time: Instant
    window_size: Annotated[Literal["minute", "hour", "day", "week", "month"], any_case()] | None = Field(
        default=None, description="One row per window; one for the whole time when left out."
    )
    timezone: TimezoneName = "UTC"
    group_by: list[Annotated[str, Field(min_length=1, max_length=255)]] = Field(
        default_factory=list, max_length=10, description="Properties of the events."
    )

    def asked(self) -> list[str] | None:
        """The customers that are asked about; None for all of them."""
        if self.customer_id is None:
            return self.customer_ids
        return [self.customer_id, *(self.customer_ids or [])]


class UsageRowOut(Model):
    customer_id: str
    value: DecimalOut | None = Field(description="Null where there is none, such as the maximum of nothing.")
    start_time: Instant
    end_time: Instant
    events: int
    unusable: int = Field(description="Events that fit the meter but have no value that it could read.")
    group: dict[str, str] | None = None

    @classmethod
    def of(cls, row: UsageRow, asked_as: str) -> Self:
        return cls(
            customer_id=asked_as,
            value=row.value,
            start_time=row.start,
            end_time=row.end,
            events=row.events,
            unusable=row.unusable,
            group=row.group or None,
        )


class ServedBy(Model):
    """How many days of the answer came from rollups, and how many from the events themselves."""

    rollup_days: int
    raw_days: int


class UsageOut(Model):
    data: list[UsageRowOut]
    as_of: Instant
    served_by: ServedBy

    @classmethod
    def of(cls, answer: UsageAnswer, asked_as: dict[str, str]) -> Self:
        """`asked_as` is external id -> the id under which the caller asked."""
        return cls(
            data=[UsageRowOut.of(row, asked_as.get(row.customer_id, row.customer_id)) for row in answer.rows],
            as_of=answer.as_of,
            served_by=ServedBy(rollup_days=answer.rollup_days, raw_days=answer.raw_days),
        )
