"""What the event routes document. Events themselves are read by `ingestion.decode`, which knows their bounds."""

import json
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue

from api.schemas.common import Instant, Model
from api.schemas.problem import Problem
from ingestion.event import LONGEST_ID, LONGEST_NAME
from ingestion.media import NDJSON_TYPES, Form

__all__ = [
    "BULK_BODIES",
    "EVENT_BODIES",
    "BulkIn",
    "BulkOut",
    "BulkProblem",
    "CloudEventIn",
    "EventIn",
    "EventName",
    "EventOut",
    "Identifier",
    "RefusedOut",
]

_EVENT: dict[str, JsonValue] = {
    "event_id": "evt_1234567890abcdef",
    "event_name": "api.request",
    "customer_id": "acme_corp_001",
    "timestamp": "2024-01-21T14:30:00Z",
    "properties": {"endpoint": "/api/v1/users", "method": "GET"},
    "idempotency_key": "unique_key_12345",
}

_CLOUD_EVENT: dict[str, JsonValue] = {
    "specversion": "1.0",
    "id": "A234-1234-1234",
    "source": "/gateway/eu-1",
    "type": "api.request",
    "subject": "acme_corp_001",
    "time": "2024-01-21T14:30:00Z",
    "data": {"endpoint": "/api/v1/users", "method": "GET"},
}

EventName = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Identifier = Annotated[str, Field(min_length=1, max_length=LONGEST_ID)]


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


class CloudEventIn(Model):
    """A CloudEvent 1.0 in structured mode. `<source> <id>` is its idempotency key.

    Further attributes, extensions among them, may be there and are not kept.
    """

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [_CLOUD_EVENT]})

    specversion: str = Field(pattern=r"^1\.[0-9]+$")
    id: Identifier = Field(description="Becomes `event_id`; at most 512 characters together with `source`.")
    source: Identifier = Field(pattern="^[^ ]+$", description="A URI reference, without spaces.")
    type: EventName = Field(description="Becomes `event_name`.")
    subject: Identifier = Field(description="Becomes `customer_id`.")
    time: Instant | None = Field(default=None, description="Becomes `timestamp`; the moment of arrival when left out.")
    data: dict[str, Any] | None = Field(default=None, description="Become `properties`; numbers keep their digits.")


class EventOut(Model):
    """`accepted`: stored, and in the very next usage answer. `duplicate`: stored before with the same content.

    `queued`: kept on this server's disk while the warehouse cannot be reached; it counts as soon as that is back.
    """

    event_id: str = Field(description="Yours, or the one that was made.")
    status: Literal["accepted", "duplicate", "queued"] = Field(examples=["accepted"])


class RefusedOut(Model):
    index: int
    code: str
    reason: str
    field: str | None


class MadeIdOut(Model):
    index: int
    event_id: str


class BulkOut(Model):
    """What became of a batch. Refused events are not stored: correct them and send them again."""

    status: Literal["stored", "queued"] = Field(
        description="`queued`: kept on this server's disk while the warehouse cannot be reached.", examples=["stored"]
    )
    accepted: int = Field(description="Events that are kept now and were not before.")
    duplicates: int = Field(
        description="Events whose identity came before, in this batch or lately. With other content than the first one "
        "they are conflicts, which are listed and never billed."
    )
    refused: list[RefusedOut]
    made_ids: list[MadeIdOut] = Field(description="The ids that were made for events without one.")


class BulkProblem(Problem):
    """Nothing of a batch was stored; with `all_events_refused` each event's reason is in `refused`."""

    accepted: int | None = None
    duplicates: int | None = None
    refused: list[RefusedOut] | None = None


def _schema(model: type[Model]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _list_of(model: type[Model]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": _schema(model)}


_LINES: dict[str, Any] = {
    "schema": {"type": "string", "description": "One event a line. Blank lines are passed over."},
    "example": "".join(
        json.dumps({"event_id": f"evt_{number}", "event_name": "api.request", "customer_id": "acme_corp_001"}) + "\n"
        for number in (1, 2)
    ),
}

EVENT_BODIES: dict[str, dict[str, Any]] = {
    Form.JSON.value: {"schema": _schema(EventIn), "example": _EVENT},
    Form.CLOUDEVENT.value: {"schema": _schema(CloudEventIn), "example": _CLOUD_EVENT},
}
"""What `POST /events` reads: media type -> schema and example."""

BULK_BODIES: dict[str, dict[str, Any]] = {
    Form.JSON.value: {"schema": {"anyOf": [_schema(BulkIn), _list_of(EventIn)]}, "example": {"events": [_EVENT]}},
    **dict.fromkeys(NDJSON_TYPES, _LINES),
    Form.CLOUDEVENT.value: {"schema": _schema(CloudEventIn), "example": _CLOUD_EVENT},
    Form.CLOUDEVENTS.value: {"schema": _list_of(CloudEventIn), "example": [_CLOUD_EVENT]},
}
"""What `POST /events/bulk` reads."""
