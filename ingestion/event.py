"""What an event is, and its bounds: the one place that says so."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

__all__ = ["EARLIEST", "LATEST", "Event", "Limits"]

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2106, 1, 1, tzinfo=UTC)
"""The warehouse keeps an event's hour as ClickHouse's DateTime, which ends in 2106."""


class Event(msgspec.Struct):
    """One immutable fact, as it will be stored.

    `identity` is the idempotency key, or the event id where there is none; in a tenant and environment it counts once.
    `timed` is false where the sender gave no timestamp and the moment of arrival was taken. `properties` maps a key,
    and the dotted path to each leaf of a nested object, to its text just as it was sent: numbers keep their digits,
    booleans are `true` and `false`, objects and arrays their JSON text, null is None.
    """

    event_id: str
    identity: str
    event_name: str
    customer_id: str
    timestamp: datetime
    timed: bool
    properties: dict[str, str | None]
    idempotency_key: str | None


@dataclass(frozen=True)
class Limits:
    """Bounds of a request and of an event; beyond them it is refused, never cut."""

    body_bytes: int = 16 * 1024 * 1024
    decompressed_bytes: int = 64 * 1024 * 1024
    events: int = 10_000
    future: timedelta = timedelta(hours=1)
    name_length: int = 256
    id_length: int = 512
    properties: int = 256
    property_key_length: int = 256
    property_bytes: int = 16 * 1024
    depth: int = 8
