"""One event as it comes in JSON, and what becomes of it: an event within its bounds, or the reason why not."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Final, NoReturn, TypeVar

import msgspec

from ingestion.event import EARLIEST, LATEST, LONGEST_ID, LONGEST_NAME, Event, Limits
from ingestion.properties import texts
from ingestion.refusal import BadEventError, wrong_shape
from ledger.ids import new_id

__all__ = ["SPANS", "UNREADABLE", "Wire", "event_of", "latest_taken", "read_one", "told"]

T = TypeVar("T")


class Wire(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The fields of an event; the values of its properties stay the bytes that were sent."""

    event_name: str
    customer_id: str
    event_id: str | None = None
    idempotency_key: str | None = None
    timestamp: str | None = None
    properties: dict[str, msgspec.Raw] | None = None


UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that it does not read."""


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("JSON has no NaN and no Infinity")


SPANS: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant)
"""Finds where a value ends, and reads the half surrogate pairs that msgspec does not."""

_ZONED: Final = Annotated[datetime, msgspec.Meta(tz=True)]
_DIGITS_TO_CUT: Final = re.compile(r"(\.\d{6})\d+", re.ASCII)
# 2024-01-21T14:30:00.123456Z: a shorter text has no digit past the microsecond.
_LENGTH_TO_MICROSECONDS: Final = 27


def latest_taken(limits: Limits, now: datetime) -> datetime:
    """The latest timestamp that an event received at `now` may have."""
    return min(now + limits.future, LATEST)


def read_one(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw | bytes) -> T:
    """One event's JSON by itself. Raises BadEventError where it is not JSON, not text, or not of this shape."""
    try:
        return decoder.decode(raw)
    except UNREADABLE as error:
        raise _why(raw, error) from error


def _why(raw: msgspec.Raw | bytes, error: Exception) -> BadEventError:
    try:
        msgspec.json.decode(raw, type=msgspec.Raw)
    except msgspec.DecodeError as malformed:
        try:
            SPANS.decode(bytes(raw).decode())
        except (ValueError, RecursionError):
            return BadEventError("not_json", f"is not JSON: {told(malformed)}", None)
    except RecursionError:
        return BadEventError("too_deep", "is nested too deeply to be read", None)
    if isinstance(error, msgspec.ValidationError):
        return wrong_shape(str(error))
    return BadEventError("not_utf8", "holds bytes or escapes that are not text", None)


def told(error: Exception) -> str:
    """What msgspec found wrong with JSON, as the end of a sentence."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return str(error).removeprefix("JSON is malformed: ")


def event_of(wire: Wire, limits: Limits, now: datetime, latest: datetime) -> Event:
    """The event, within its bounds; `latest` is `latest_taken`. Raises BadEventError past one of them."""
    name, customer_id, event_id, key = wire.event_name, wire.customer_id, wire.event_id, wire.idempotency_key
    _check(name, "event_name", LONGEST_NAME)
    _check(customer_id, "customer_id", LONGEST_ID)
    if event_id is None:
        event_id = new_id("evt", now)
    else:
        _check(event_id, "event_id", LONGEST_ID)
    if key is not None:
        _check(key, "idempotency_key", LONGEST_ID)
    sent_at = wire.timestamp
    return Event(
        event_name=name,
        customer_id=customer_id,
        event_id=event_id,
        timestamp=now if sent_at is None else _timestamp(sent_at, latest),
        idempotency_key=key,
        properties={**texts(wire.properties, limits)} if wire.properties else {},
        timed=sent_at is not None,
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
    try:
        # Digits past the microsecond are cut, not rounded: rounding could move an event into the next period.
        cut = text if len(text) <= _LENGTH_TO_MICROSECONDS else _DIGITS_TO_CUT.sub(r"\1", text)
        moment = _timestamp_of(cut).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError) as error:
        raise BadEventError(
            "timestamp_not_rfc3339", "is not an RFC 3339 time with an offset, such as 2024-01-21T14:30:00Z", "timestamp"
        ) from error
    if moment > latest:
        raise BadEventError(
            "timestamp_in_the_future", f"lies after {latest:%Y-%m-%dT%H:%M:%SZ}, the latest that is taken", "timestamp"
        )
    if moment < EARLIEST:
        raise BadEventError("timestamp_out_of_range", f"lies before {EARLIEST:%Y}", "timestamp")
    return moment


def _timestamp_of(text: str) -> datetime:
    moment: datetime = msgspec.convert(text, _ZONED)
    return moment
