"""Bytes to events: every index of a batch is either an event or a reason (promise E4).

msgspec reads the JSON; property values stay the bytes that were sent until their text is taken. A batch without a fault
is read in one go (`ingestion.flawless`); where one event may not fit, each is read by itself. Where a JSON object names
a key twice the last one counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from billing.errors import InvalidInput, TooLarge
from ingestion.cloudevents import CloudEvent, event_of_cloud_event
from ingestion.event import Event, Limits
from ingestion.flawless import is_bare, read_flawless
from ingestion.media import Form
from ingestion.refusal import BadEventError, Refused, first_quoted
from ingestion.rows import open_rows
from ingestion.wire import SPANS, UNREADABLE, Wire, event_of, latest_taken, read_one, told

__all__ = ["Decoded", "Refused", "decode_event", "decode_events", "decode_one", "read_each"]


@dataclass(frozen=True)
class Decoded:
    """What a request held: events in their order, each with its index and its row (see `ingestion.rows`), and the
    refused ones by index. `made` are the ids that were given to events without one, by index.
    """

    events: Sequence[Event]
    indexes: Sequence[int]
    rows: list[bytes]
    made: dict[int, str]
    refused: list[Refused]


class _RawBatch(msgspec.Struct, forbid_unknown_fields=True):
    events: list[msgspec.Raw]


_cloud: Final = msgspec.json.Decoder(list[CloudEvent])
_raw_batch: Final = msgspec.json.Decoder(_RawBatch)
_raw_bare: Final = msgspec.json.Decoder(list[msgspec.Raw])
_wire: Final = msgspec.json.Decoder(Wire)

_Item = CloudEvent | msgspec.Raw | bytes

_BLANKS: Final = b" \t\r\n"
_SHAPE: Final = 'Send {"events": [...]} or an array of events.'
_OPENING: Final = re.compile(r'[ \t\r\n]*(\{[ \t\r\n]*"events"[ \t\r\n]*:[ \t\r\n]*)?\[[ \t\r\n]*')
_COMMA: Final = re.compile(r"[ \t\r\n]*,[ \t\r\n]*")
_CLOSING: Final = re.compile(r"[ \t\r\n]*\][ \t\r\n]*(\}[ \t\r\n]*)?\Z")


def decode_events(body: bytes, limits: Limits, now: datetime, form: Form = Form.JSON) -> Decoded:
    """Reads the events of a request in any form; the index of one is its place among them.

    JSON is `{"events": [...]}` or a bare array, a CloudEvents batch an array; a single CloudEvent has the index 0. In
    NDJSON the index counts the lines that are not blank, from 0.

    Raises InvalidInput (`body_not_json`, `body_too_deep`, `body_not_a_batch`, `batch_empty`, `unknown_field`) and
    TooLarge (`too_many_events`) where nothing of the batch can be taken.
    """
    latest = latest_taken(limits, now)
    if form in {Form.JSON, Form.NDJSON}:
        flawless = read_flawless(body, form, limits, now, latest)
        if flawless is not None:
            count = len(flawless.events)
            return Decoded(flawless.events, range(count), flawless.rows, flawless.made, [])
    return read_each(body, form, limits, now, latest)


def read_each(body: bytes, form: Form, limits: Limits, now: datetime, latest: datetime) -> Decoded:
    """As `decode_events`, every event by itself: what it takes and refuses is what holds, however a batch is read."""
    items = _items(body, form)
    if not items:
        raise InvalidInput("batch_empty", "The batch holds no events.", field="events")
    if len(items) > limits.events:
        raise TooLarge(
            "too_many_events",
            f"The batch holds {len(items)} events, {limits.events} are the most.",
            field="events",
            hint="Send them in several requests.",
        )
    events: dict[int, Event] = {}
    made: dict[int, str] = {}
    refused: list[Refused] = []
    for index, item in enumerate(items):
        try:
            event, is_made = _event(item, form, limits, now, latest)
        except BadEventError as bad:
            refused.append(bad.at(index))
        else:
            events[index] = event
            if is_made:
                made[index] = event.event_id
    good = list(events.values())
    return Decoded(good, list(events), open_rows(good), made, refused)


def decode_one(body: bytes, limits: Limits, now: datetime, form: Form = Form.JSON) -> tuple[Event, bytes]:
    """As `decode_event`, with the event's row (see `ingestion.rows`)."""
    if form is Form.JSON:
        # As a batch of one: what is more or less than one value between the brackets is no event.
        flawless = read_flawless(b"[" + body + b"]", form, limits, now, latest_taken(limits, now))
        if flawless is not None and len(flawless.events) == 1:
            return flawless.events[0], flawless.rows[0]
    event = decode_event(body, limits, now, form)
    return event, open_rows([event])[0]


def decode_event(body: bytes, limits: Limits, now: datetime, form: Form = Form.JSON) -> Event:
    """Reads a single event, plain or a CloudEvent.

    Raises InvalidInput with the same codes as a refused event of a batch, and `body_not_json`, `body_too_deep`.
    """
    try:
        return _event(_single(body), form, limits, now, latest_taken(limits, now))[0]
    except BadEventError as bad:
        raise InvalidInput(bad.code, bad.reason, field=bad.field) from bad


def _event(item: _Item, form: Form, limits: Limits, now: datetime, latest: datetime) -> tuple[Event, bool]:
    """The event, and whether its id was made here."""
    if isinstance(item, CloudEvent) or form in {Form.CLOUDEVENT, Form.CLOUDEVENTS}:
        return event_of_cloud_event(item, limits, now, latest), False
    wire = read_one(_wire, item)
    return event_of(wire, limits, now, latest), wire.event_id is None


def _items(body: bytes, form: Form) -> Sequence[_Item]:
    if form is Form.NDJSON:
        return [line for line in body.split(b"\n") if line.strip(_BLANKS)]
    if form is Form.CLOUDEVENT:
        return [_single(body)]
    if form is Form.JSON:
        return _one_by_one(body, is_bare(body), _SHAPE)
    try:
        return _cloud.decode(body)
    except UNREADABLE:
        return _one_by_one(body, True, "Send an array of CloudEvents.")


def _single(body: bytes) -> bytes:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except UNREADABLE as error:
        raise _not_json(error) from error
    return body


def _one_by_one(body: bytes, bare: bool, shape: str) -> Sequence[msgspec.Raw | bytes]:
    try:
        return _raw_bare.decode(body) if bare else _raw_batch.decode(body).events
    except msgspec.ValidationError as error:
        text = str(error)
        if "unknown field" in text:
            raise InvalidInput(
                "unknown_field", "The batch has a field that is not known.", field=first_quoted(text), hint=shape
            ) from error
        raise InvalidInput("body_not_a_batch", "The body is not a batch of events.", hint=shape) from error
    except UNREADABLE as error:
        taken_apart = _take_apart(body, bare)
        if taken_apart is None:
            raise _not_json(error) from error
        return taken_apart


def _take_apart(body: bytes, bare: bool) -> list[bytes] | None:
    """The events of a batch that msgspec will not read as a whole, because of half a surrogate pair in one of them.

    Python's reader only finds where each one ends: the bytes stay as they were sent, and each is then taken or refused
    by itself. None where the body is not JSON for Python either.
    """
    try:
        text = body.decode()
        opening = _OPENING.match(text)
        if opening is None or bool(opening[1]) == bare:
            return None
        found: list[bytes] = []
        position = opening.end()
        while True:
            _, end = SPANS.raw_decode(text, position)
            found.append(text[position:end].encode())
            comma = _COMMA.match(text, end)
            if comma is None:
                closing = _CLOSING.match(text, end)
                return found if closing and bool(closing[1]) != bare else None
            position = comma.end()
    except (ValueError, RecursionError):
        return None


def _not_json(error: Exception) -> InvalidInput:
    if isinstance(error, RecursionError):
        return InvalidInput("body_too_deep", "The JSON is nested too deeply to be read.")
    return InvalidInput("body_not_json", f"The body is not JSON: {told(error)}.")
