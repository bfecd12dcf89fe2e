"""Bytes to events: every index of a batch is either an event or a reason (promise E4).

msgspec reads the JSON; property values stay the bytes that were sent until their text is taken. A batch without a fault
is read in one go; where one event does not fit, each is read by itself. Where a JSON object names a key twice the last
one counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from billing.errors import InvalidInput, TooLarge
from ingestion.event import EARLIEST, LATEST, Event, Limits
from ingestion.properties import texts
from ingestion.refusal import BadEventError, Refused, first_quoted, wrong_shape
from ledger.ids import new_id

__all__ = ["Decoded", "Refused", "decode_event", "decode_events"]


@dataclass(frozen=True)
class Decoded:
    """What a request held: events in their order, and the refused ones by index."""

    events: list[Event]
    refused: list[Refused]


class _Wire(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    event_name: str
    customer_id: str
    event_id: str | None = None
    idempotency_key: str | None = None
    timestamp: str | None = None
    properties: dict[str, msgspec.Raw] | None = None


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    events: list[_Wire]


class _RawBatch(msgspec.Struct, forbid_unknown_fields=True):
    events: list[msgspec.Raw]


_batch: Final = msgspec.json.Decoder(_Batch)
_bare: Final = msgspec.json.Decoder(list[_Wire])
_raw_batch: Final = msgspec.json.Decoder(_RawBatch)
_raw_bare: Final = msgspec.json.Decoder(list[msgspec.Raw])
_wire: Final = msgspec.json.Decoder(_Wire)

_BLANKS: Final = b" \t\r\n"
_SHAPE: Final = 'Send {"events": [...]} or an array of events.'
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_spans: Final = json.JSONDecoder(parse_int=str, parse_float=str)
_OPENING: Final = re.compile(r'[ \t\r\n]*(\{[ \t\r\n]*"events"[ \t\r\n]*:[ \t\r\n]*)?\[[ \t\r\n]*')
_COMMA: Final = re.compile(r"[ \t\r\n]*,[ \t\r\n]*")
_CLOSING: Final = re.compile(r"[ \t\r\n]*\][ \t\r\n]*(\}[ \t\r\n]*)?\Z")
_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


def decode_events(body: bytes, limits: Limits, now: datetime) -> Decoded:
    """Reads a batch, `{"events": [...]}` or a bare array.

    Raises InvalidInput (`body_not_json`, `body_too_deep`, `body_not_a_batch`, `batch_empty`, `unknown_field`) and
    TooLarge (`too_many_events`) where nothing of the batch can be taken.
    """
    wires = _read_batch(body)
    if not wires:
        raise InvalidInput("batch_empty", "The batch holds no events.", field="events")
    if len(wires) > limits.events:
        raise TooLarge(
            "too_many_events",
            f"The batch holds {len(wires)} events, {limits.events} are the most.",
            field="events",
            hint="Send them in several requests.",
        )
    latest = min(now + limits.future, LATEST)
    events: list[Event] = []
    refused: list[Refused] = []
    for index, wire in enumerate(wires):
        try:
            events.append(_event(wire if isinstance(wire, _Wire) else _read(wire), limits, now, latest))
        except BadEventError as bad:
            refused.append(bad.at(index))
    return Decoded(events, refused)


def decode_event(body: bytes, limits: Limits, now: datetime) -> Event:
    """Reads a single event. Raises InvalidInput with the same codes as a refused event of a batch."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except _UNREADABLE as error:
        raise _not_json(error) from error
    try:
        return _event(_read(body), limits, now, min(now + limits.future, LATEST))
    except BadEventError as bad:
        raise InvalidInput(bad.code, bad.reason, field=bad.field) from bad


def _read_batch(body: bytes) -> Sequence[_Wire | msgspec.Raw | bytes]:
    bare = body.lstrip(_BLANKS)[:1] == b"["
    try:
        return _bare.decode(body) if bare else _batch.decode(body).events
    except _UNREADABLE:
        pass
    try:
        return _raw_bare.decode(body) if bare else _raw_batch.decode(body).events
    except msgspec.ValidationError as error:
        text = str(error)
        if "unknown field" in text:
            raise InvalidInput(
                "unknown_field", "The batch has a field that is not known.", field=first_quoted(text), hint=_SHAPE
            ) from error
        raise InvalidInput("body_not_a_batch", "The body is not a batch of events.", hint=_SHAPE) from error
    except _UNREADABLE as error:
        taken_apart = _take_apart(body)
        if taken_apart is None:
            raise _not_json(error) from error
        return taken_apart


def _take_apart(body: bytes) -> list[bytes] | None:
    """The events of a batch that msgspec will not read as a whole, because of half a surrogate pair in one of them.

    Python's reader only finds where each one ends: the bytes stay as they were sent, and each is then taken or refused
    by itself. None where the body is not JSON for Python either.
    """
    try:
        text = body.decode()
        opening = _OPENING.match(text)
        if opening is None:
            return None
        found: list[bytes] = []
        position = opening.end()
        while True:
            _, end = _spans.raw_decode(text, position)
            found.append(text[position:end].encode())
            comma = _COMMA.match(text, end)
            if comma is None:
                closing = _CLOSING.match(text, end)
                return found if closing and bool(closing[1]) == bool(opening[1]) else None
            position = comma.end()
    except (ValueError, RecursionError):
        return None


def _read(raw: msgspec.Raw | bytes) -> _Wire:
    try:
        return _wire.decode(raw)
    except msgspec.ValidationError as error:
        raise wrong_shape(str(error)) from error
    except _UNREADABLE as error:
        raise BadEventError("not_utf8", "holds bytes or escapes that are not text", None) from error


def _event(wire: _Wire, limits: Limits, now: datetime, latest: datetime) -> Event:
    name, customer_id, event_id, key = wire.event_name, wire.customer_id, wire.event_id, wire.idempotency_key
    _check(name, "event_name", limits.name_length)
    _check(customer_id, "customer_id", limits.id_length)
    if event_id is None:
        event_id = new_id("evt", now)
    else:
        _check(event_id, "event_id", limits.id_length)
    if key is not None:
        _check(key, "idempotency_key", limits.id_length)
    sent_at = wire.timestamp
    return Event(
        event_id,
        event_id if key is None else key,
        name,
        customer_id,
        now if sent_at is None else _timestamp(sent_at, latest),
        sent_at is not None,
        texts(wire.properties, limits) if wire.properties else {},
        key,
    )


def _check(value: str, field: str, longest: int) -> None:
    # Ids travel through logs, pages and terminals, hence no control characters.
    if 0 < len(value) <= longest and value.isprintable():
        return
    if not value:
        raise BadEventError("empty", "must not be empty", field)
    if len(value) > longest:
        raise BadEventError("too_long", f"is longer than {longest} characters", field)
    raise BadEventError("not_printable", "holds control characters", field)


def _timestamp(text: str, latest: datetime) -> datetime:
    if not _TIMESTAMP.fullmatch(text):
        raise BadEventError(
            "timestamp_not_rfc3339", "is not an RFC 3339 time with an offset, such as 2024-01-21T14:30:00Z", "timestamp"
        )
    try:
        # Digits past the microsecond are cut, not rounded: rounding could move an event into the next period.
        moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadEventError("timestamp_not_rfc3339", "names a moment that does not exist", "timestamp") from error
    if moment > latest:
        raise BadEventError(
            "timestamp_in_the_future", f"lies after {latest:%Y-%m-%dT%H:%M:%SZ}, the latest that is taken", "timestamp"
        )
    if moment < EARLIEST:
        raise BadEventError("timestamp_out_of_range", f"lies before {EARLIEST:%Y}", "timestamp")
    return moment


def _not_json(error: Exception) -> InvalidInput:
    if isinstance(error, RecursionError):
        return InvalidInput("body_too_deep", "The JSON is nested too deeply to be read.")
    reason = (
        "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error).removeprefix("JSON is malformed: ")
    )
    return InvalidInput("body_not_json", f"The body is not JSON: {reason}.")
