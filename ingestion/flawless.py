"""Reads a batch in which nothing is wrong in one go, with a handful of operations per event instead of dozens.

What is certain at a glance is taken; whatever is not, for all of the batch, is left to the reader that looks at each
event by itself (`ingestion.decode`). Both go by the same rules, so which of them read a batch cannot be told from what
is stored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from ingestion.event import EARLIEST, LONGEST_KEY, Event, Identifier, Limits, PropertyKey
from ingestion.media import Form
from ingestion.properties import texts
from ingestion.refusal import BadEventError
from ingestion.rows import open_rows, open_rows_at_a_glance
from ingestion.wire import UNREADABLE
from ledger.ids import new_id

__all__ = ["Flawless", "is_bare", "read_flawless"]


@dataclass(frozen=True, slots=True)
class Flawless:
    """All events of a batch, their rows (`open_rows`), and the ids that were made, by index."""

    events: Sequence[Event]
    rows: list[bytes]
    made: dict[int, str]


class _Sent(Event, forbid_unknown_fields=True):
    """An event as it may be sent, read in one go. What is missing is filled in before anybody else sees it."""

    event_id: Identifier | None = None  # type: ignore[assignment]
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)] | None = None  # type: ignore[assignment]
    properties: dict[PropertyKey, msgspec.Raw] | None = {}  # type: ignore[assignment]  # noqa: RUF012 -- msgspec copies it
    # No JSON value is of this type, so a sender who names the field is refused.
    timed: msgspec.UnsetType = True  # type: ignore[assignment]


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    events: list[_Sent]


_batch: Final = msgspec.json.Decoder(_Batch)
_bare: Final = msgspec.json.Decoder(list[_Sent])
_line: Final = msgspec.json.Decoder(_Sent)
_BLANKS: Final = b" \t\r\n"
_NESTED: Final = b"{["
_BELOW_MICROSECONDS: Final = re.compile(rb'\.\d{7,}(?:[Zz]|[+-]\d\d:?\d\d)"')


def is_bare(body: bytes) -> bool:
    """Whether JSON is a bare array."""
    return body.lstrip(_BLANKS)[:1] == b"["


def read_flawless(body: bytes, form: Form, limits: Limits, now: datetime, latest: datetime) -> Flawless | None:
    """The events of a batch in which nothing can be wrong; None where that is not certain at a glance."""
    try:
        sent = _sent(body, form)
        if not body.isascii():
            body.decode()
    except UNREADABLE:
        return None
    # An escape may stand for half a character, and msgspec rounds what lies past the microsecond.
    if not 0 < len(sent) <= limits.events or b"\\u" in body or _BELOW_MICROSECONDS.search(body):
        return None
    plain = body.isascii() and b"\\" not in body and b"\x7f" not in body
    if not plain and not all(map(_is_printable, sent)):
        return None
    made = _complete(sent, limits, now, latest)
    if made is None:
        return None
    rows = open_rows_at_a_glance(sent, limits.property_bytes)
    if rows is None:
        if not _take_texts(sent, limits):
            return None
        rows = open_rows(sent)
    return Flawless(sent, rows, made)


def _sent(body: bytes, form: Form) -> Sequence[_Sent]:
    if form is Form.NDJSON:
        lines = body.strip(_BLANKS).replace(b"}\r\n{", b"}\n{")
        sent = _line.decode_lines(lines)
        # A break between } and { is never within a value: so many breaks, and no others, mean one event a line.
        return sent if lines.count(b"\n") == lines.count(b"}\n{") == len(sent) - 1 else []
    return _bare.decode(body) if is_bare(body) else _batch.decode(body).events


def _complete(sent: Sequence[Any], limits: Limits, now: datetime, latest: datetime) -> dict[int, str] | None:
    """Fills in what may be left out; the ids made, by index. None where a moment or the number of properties is out of
    bounds.
    """
    moments = [event.timestamp for event in sent]
    if None in moments:
        for event in sent:
            if event.timestamp is None:
                event.timestamp, event.timed = now, False
        moments = [moment for moment in moments if moment is not None]
    if moments and (max(moments) > latest or min(moments) < EARLIEST):
        return None
    made: dict[int, str] = {}
    for index, event in enumerate(sent):
        if event.event_id is None:
            event.event_id = made[index] = new_id("evt", now)
        if event.properties is None:
            event.properties = {}
    if limits.property_key_length < LONGEST_KEY and any(
        len(key) > limits.property_key_length for event in sent for key in event.properties
    ):
        return None
    return made if max([len(event.properties) for event in sent]) <= limits.properties else None


def _take_texts(sent: Sequence[Event], limits: Limits) -> bool:
    """Takes the texts of the events with values that are nested or too large. False where one does not fit."""
    try:
        for event in sent:
            raws: Any = event.properties
            if any(raw[0] in _NESTED or len(raw) > limits.property_bytes for raw in map(bytes, raws.values())):
                event.properties = {**texts(raws, limits)}
    except BadEventError:
        return False
    return True


def _is_printable(event: Event) -> bool:
    key = event.idempotency_key
    return (
        event.event_name.isprintable()
        and event.customer_id.isprintable()
        and (event.event_id is None or event.event_id.isprintable())
        and (key is None or key.isprintable())
    )
