"""What the event routes document. Events themselves are read by `ingestion.decode`, which knows their bounds."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, JsonValue

from api.schemas.common import Instant, Model
from api.schemas.problem import Problem
from ingestion.event import Limits

__all__ = ["BulkIn", "BulkOut", "BulkProblem", "EventIn", "EventOut", "RefusedOut"]

_EVENT: dict[str, JsonValue] = {
    "event_id": "evt_1234567890abcdef",
    "event_name": "api.request",
    "customer_id": "acme_corp_001",
    "timestamp": "2024-01-21T14:30:00Z",
    "properties": {"endpoint": "/api/v1/users", "method": "GET"},
    "idempotency_key": "unique_key_12345",
}

_LIMITS = Limits()
EventName = Annotated[str, Field(min_length=1, max_length=_LIMITS.name_length)]
Identifier = Annotated[str, Field(min_length=1, max_length=_LIMITS.id_length)]


class EventIn(Model):
    """One fact. Its identity is `idempotency_key`, or `event_id` where there is none; an identity counts once."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EVENT]})

    event_id: Identifier | None = None
    event_name: EventName
    customer_id: Identifier
    timestamp: Instant | None = Field(default=None, description="The moment of arrival when left out.")
    properties: dict[str, Any] | None = Field(default=None, description="Numbers keep their digits as sent.")
    idempotency_key: Identifier | None = None


class BulkIn(Model):
    model_config = ConfigDict(json_schema_extra={"examples": [{"events": [_EVENT]}]})

    events: list[EventIn] = Field(min_length=1)


class EventOut(Model):
    """The event is stored; `duplicate` says that its identity was in the same request already."""

    event_id: str
    status: str = Field(examples=["accepted"])


class RefusedOut(Model):
    index: int
    code: str
    reason: str
    field: str | None


class BulkOut(Model):
    """`accepted` events are stored and in the very next usage answer. Refused ones are not stored: send them again."""

    accepted: int
    duplicates: int
    refused: list[RefusedOut]


class BulkProblem(Problem):
    """Nothing of a batch was stored; with `all_events_refused` each event's reason is in `refused`."""

    accepted: int | None = None
    duplicates: int | None = None
    refused: list[RefusedOut] | None = None
