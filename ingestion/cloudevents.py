"""CloudEvents 1.0 in structured mode, read as our events.

type -> event_name, subject -> customer_id, time -> timestamp, data -> properties, id -> event_id. A CloudEvent is
identified by source and id together, so the idempotency key is `<source> <id>`: a source is a URI reference and holds
no space, so that no two pairs come to the same key. Other attributes (datacontenttype, dataschema, extensions) are
read and not kept.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

import msgspec

from ingestion.event import Event, Limits
from ingestion.refusal import BadEventError
from ingestion.wire import Wire, event_of, read_one

__all__ = ["CloudEvent", "event_of_cloud_event"]


class CloudEvent(msgspec.Struct, gc=False):
    """The attributes that are read. A null one counts as left out (CloudEvents' JSON format, 2.2)."""

    specversion: str | None = None
    id: str | None = None
    source: str | None = None
    type: str | None = None
    subject: str | None = None
    time: str | None = None
    data: dict[str, msgspec.Raw] | None = None
    data_base64: object = None


_decoder: Final = msgspec.json.Decoder(CloudEvent)
_VERSION: Final = re.compile(r"1\.\d+", re.ASCII)

# Their attribute for each of our fields: a refusal speaks of what was sent.
_THEIRS: Final = {
    "event_name": "type",
    "customer_id": "subject",
    "event_id": "id",
    "idempotency_key": "id",
    "timestamp": "time",
}
_WHY_REQUIRED: Final = {
    "specversion": "is required: send 1.0",
    "subject": "is required: it names the customer whose usage this is",
}


def event_of_cloud_event(
    sent: CloudEvent | msgspec.Raw | bytes, limits: Limits, now: datetime, latest: datetime
) -> Event:
    """The event that a CloudEvent stands for. Raises BadEventError in the CloudEvent's own terms."""
    try:
        return event_of(_wire(sent if isinstance(sent, CloudEvent) else read_one(_decoder, sent)), limits, now, latest)
    except BadEventError as bad:
        raise _in_their_terms(bad) from bad


def _wire(sent: CloudEvent) -> Wire:
    version, source, event_id, kind, subject = sent.specversion, sent.source, sent.id, sent.type, sent.subject
    if version is None:
        raise _missing("specversion")
    if not _VERSION.fullmatch(version):
        raise BadEventError("specversion_not_supported", "is not a version that is read here: send 1.0", "specversion")
    if source is None or event_id is None or kind is None or subject is None:
        required = (("source", source), ("id", event_id), ("type", kind), ("subject", subject))
        raise _missing(next(name for name, value in required if value is None))
    if not source or " " in source:
        raise BadEventError("source_not_a_uri", "must be a URI reference: not empty and without spaces", "source")
    if not event_id:
        raise BadEventError("empty", "must not be empty", "id")
    if sent.data_base64 is not None:
        raise BadEventError(
            "data_base64_not_supported", "is binary: send `data` as a JSON object instead", "data_base64"
        )
    return Wire(kind, subject, event_id, f"{source} {event_id}", sent.time, sent.data)


def _missing(name: str) -> BadEventError:
    return BadEventError("missing", _WHY_REQUIRED.get(name, "is required"), name)


def _in_their_terms(bad: BadEventError) -> BadEventError:
    field = bad.field or ""
    if field == "data" and bad.code == "wrong_type":
        reason = f"{bad.reason}: its members become the event's properties"
        return BadEventError("data_not_an_object", reason, field)
    if field == "idempotency_key" and bad.code == "too_long":
        return BadEventError(bad.code, f"{bad.reason} together with source", "id")
    if field.startswith("properties"):
        return BadEventError(bad.code, bad.reason, field.replace("properties", "data", 1))
    return BadEventError(bad.code, bad.reason, _THEIRS.get(field, bad.field))
