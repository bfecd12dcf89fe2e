"""The write that acknowledges: it returns when the engine has the events on disk (E1), and not before."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from billing.scope import Scope
from ingestion.event import Event
from warehouse_sql.client import Warehouse

__all__ = ["EventWriter", "Written"]

_COLUMNS: Final = (
    "tenant_id",
    "environment_id",
    "event_name",
    "customer_id",
    "timestamp",
    "timed",
    "identity",
    "event_id",
    "idempotency_key",
    "properties",
    "source",
)
# A backfill may bring years in one batch: each month is a partition. On a cluster the shards have it before we answer.
_SETTINGS: Final = {
    "date_time_input_format": "best_effort",
    "max_partitions_per_insert_block": 0,
    "distributed_foreground_insert": 1,
}


class _Row(msgspec.Struct, gc=False):
    """A row of `events` in JSON. `ingested_at` is not among its columns: the engine sets it."""

    tenant_id: str
    environment_id: str
    event_name: str
    customer_id: str
    timestamp: datetime
    timed: bool
    identity: str
    event_id: str
    idempotency_key: str | None
    properties: dict[str, str | None]
    source: str


@dataclass(frozen=True)
class Written:
    """How many events were stored, and how many had an identity that the same batch had named before."""

    stored: int
    duplicates: int


class EventWriter:
    """Writes batches of one tenant and environment, each as one insert. Safe to share between threads."""

    def __init__(self, warehouse: Warehouse, source: str = "api") -> None:
        self._warehouse = warehouse
        self._source = source
        self._encoder = msgspec.json.Encoder()

    def write(self, scope: Scope, events: Sequence[Event]) -> Written:
        """Store the events; of those with the same identity the first (E3).

        Raises Unavailable when the warehouse is down or does not answer in time: then nothing is acknowledged, and
        sending the same events again is safe, whether or not they had been stored.
        """
        first: dict[str, Event] = {}
        for event in events:
            first.setdefault(event.identity, event)
        if first:
            rows = [
                _Row(
                    scope.tenant_id,
                    scope.environment_id,
                    event.event_name,
                    event.customer_id,
                    event.timestamp,
                    event.timed,
                    event.identity,
                    event.event_id,
                    event.idempotency_key,
                    event.properties,
                    self._source,
                )
                for event in first.values()
            ]
            self._warehouse.insert_raw(
                "events",
                _COLUMNS,
                self._encoder.encode_lines(rows),
                "JSONEachRow",
                _SETTINGS,
            )
        return Written(stored=len(first), duplicates=len(events) - len(first))
