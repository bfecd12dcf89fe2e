"""A correction of an event, as a caller writes it: the fields that should have been sent otherwise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import msgspec

from billing.errors import InvalidInput
from ingestion.decode import decode_event
from ingestion.event import Event, Limits
from ingestion.refusal import first_quoted

__all__ = ["Amendment", "decode_amendment"]

LONGEST_REASON: Final = 1000
# Stands in for fields that the caller leaves as they are, so that the rest is checked as every event is.
_UNCHANGED: Final = "unchanged"


@dataclass(frozen=True, slots=True)
class Amendment:
    """What is to change of an event, and why; None leaves a field as it was. `properties` replace all properties.

    `identity` says which event is meant where several have the same event id.
    """

    reason: str
    identity: str | None
    event_name: str | None
    customer_id: str | None
    timestamp: datetime | None
    properties: dict[str, str | None] | None

    def of(self, event: Event) -> Event:
        """The event with these changes; its ids stay."""
        return msgspec.structs.replace(
            event,
            event_name=self.event_name or event.event_name,
            customer_id=self.customer_id or event.customer_id,
            timestamp=self.timestamp or event.timestamp,
            timed=event.timed or self.timestamp is not None,
            properties=event.properties if self.properties is None else {**self.properties},
        )

    def for_customer(self, customer_id: str | None) -> Amendment:
        """The same, its customer under the caller's own id."""
        return replace(self, customer_id=customer_id)


class _Wire(msgspec.Struct, forbid_unknown_fields=True):
    reason: str
    identity: str | None = None
    event_name: str | None = None
    customer_id: str | None = None
    timestamp: str | None = None
    properties: dict[str, msgspec.Raw] | None = None


_wire: Final = msgspec.json.Decoder(_Wire)


def decode_amendment(body: bytes, limits: Limits, now: datetime) -> Amendment:
    """Reads an amendment; its fields obey the rules of an event's. InvalidInput with the codes of `decode_event`,
    and `nothing_to_amend` where it names no field.
    """
    wire = _read(body)
    _check_reason(wire.reason)
    if all(value is None for value in (wire.event_name, wire.customer_id, wire.timestamp, wire.properties)):
        raise InvalidInput(
            "nothing_to_amend",
            "names no field to change",
            field="properties",
            hint="Send event_name, customer_id, timestamp or properties as they should have been, or void the event.",
        )
    changed = {
        "event_id": _UNCHANGED,
        "event_name": _UNCHANGED if wire.event_name is None else wire.event_name,
        "customer_id": _UNCHANGED if wire.customer_id is None else wire.customer_id,
        "timestamp": wire.timestamp,
        "properties": wire.properties,
    }
    event = decode_event(msgspec.json.encode(changed), limits, now)
    return Amendment(
        reason=wire.reason,
        identity=wire.identity,
        event_name=None if wire.event_name is None else event.event_name,
        customer_id=None if wire.customer_id is None else event.customer_id,
        timestamp=None if wire.timestamp is None else event.timestamp,
        properties=None if wire.properties is None else event.texts(),
    )


def _read(body: bytes) -> _Wire:
    try:
        return _wire.decode(body)
    except msgspec.ValidationError as error:
        text = str(error)
        if "unknown field" in text:
            raise InvalidInput("unknown_field", "is not a field of an amendment", field=first_quoted(text)) from error
        if "missing required field" in text:
            raise InvalidInput("missing_field", "is required", field=first_quoted(text)) from error
        raise InvalidInput("wrong_type", f"is not as documented: {text}", field=_at(text)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("body_not_json", "The body is not a JSON document that can be read.") from error


def _at(text: str) -> str:
    return text.rpartition("`$.")[2].rstrip("`") if "`$." in text else "body"


def _check_reason(reason: str) -> None:
    if not 0 < len(reason) <= LONGEST_REASON or not reason.isprintable():
        raise InvalidInput(
            "bad_reason", f"must be a line of 1 to {LONGEST_REASON} printable characters", field="reason"
        )
