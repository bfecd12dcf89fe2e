"""What an event is, and its bounds: the one place that says so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import msgspec

__all__ = [
    "EARLIEST",
    "LATEST",
    "LONGEST_ID",
    "LONGEST_KEY",
    "LONGEST_NAME",
    "Event",
    "Identifier",
    "Limits",
    "Name",
    "PropertyKey",
]

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2106, 1, 1, tzinfo=UTC)
"""The warehouse keeps an event's hour as ClickHouse's DateTime, which ends in 2106."""

LONGEST_NAME: Final = 256
LONGEST_ID: Final = 512
LONGEST_KEY: Final = 256

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_NAME)]
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_ID)]
PropertyKey = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_KEY)]

_text: Final = msgspec.json.Decoder(str).decode
_QUOTE, _NULL = b'"n'


class Event(msgspec.Struct, omit_defaults=True, gc=False):
    """One immutable fact, as it will be stored; written as JSON it is its row, without whose it is.

    `timed` is false where the sender gave no timestamp and the moment of arrival was taken. `properties` maps a key,
    and the dotted path to each leaf of a nested object, to its text, or to the JSON scalar as it was sent.
    """

    event_name: Name
    customer_id: Identifier
    event_id: Identifier
    timestamp: datetime
    idempotency_key: Identifier | None = None
    properties: dict[str, str | msgspec.Raw | None] = {}
    timed: bool = True

    @property
    def identity(self) -> str:
        """What counts once in a tenant and environment: the idempotency key, or the event id where there is none."""
        return self.idempotency_key or self.event_id

    def texts(self) -> dict[str, str | None]:
        """Each property as the text that is stored: numbers keep their digits, booleans are `true` and `false`, objects
        and arrays their JSON text, null is None.
        """
        return {
            key: _scalar_text(bytes(value)) if isinstance(value, msgspec.Raw) else value
            for key, value in self.properties.items()
        }


def _scalar_text(raw: bytes) -> str | None:
    if raw[0] == _QUOTE:
        return _text(raw)
    return None if raw[0] == _NULL else raw.decode()


@dataclass(frozen=True)
class Limits:
    """Bounds of a request and of an event; beyond them it is refused, never cut."""

    body_bytes: int = 16 * 1024 * 1024
    decompressed_bytes: int = 64 * 1024 * 1024
    events: int = 10_000
    future: timedelta = timedelta(hours=1)
    properties: int = 256
    property_key_length: int = LONGEST_KEY
    property_bytes: int = 16 * 1024
    depth: int = 8
