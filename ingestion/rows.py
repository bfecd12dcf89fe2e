"""Events as the lines of one insert. Parsing them is the larger part of what an event costs the engine, so a row names
nothing that the table can work out by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from billing.scope import Scope
from ingestion.event import Event

__all__ = ["COLUMNS", "FORMAT", "SETTINGS", "TABLE", "open_rows", "open_rows_at_a_glance", "rows_of"]

TABLE: Final = "events"
FORMAT: Final = "JSONEachRow"
COLUMNS: Final = (
    "tenant_id",
    "environment_id",
    "source",
    "event_name",
    "customer_id",
    "event_id",
    "timestamp",
    "idempotency_key",
    "properties",
    "timed",
)
SETTINGS: Final = {
    "date_time_input_format": "best_effort",
    # The text of a number is what was sent (E6); read as a number it would go through a double.
    "input_format_json_read_numbers_as_strings": 1,
    "input_format_json_read_bools_as_strings": 1,
    # One thread reads rows with a sixth less CPU than several, and rows of one key are merged later anyway, which
    # FINAL does not wait for: together they save two fifths of an insert's CPU.
    "max_threads": 1,
    "max_insert_threads": 1,
    "input_format_parallel_parsing": 0,
    "optimize_on_insert": 0,
    # A file of old events may bring years in one batch: each month is a partition. On a cluster the shards have the
    # rows before we answer.
    "max_partitions_per_insert_block": 0,
    "distributed_foreground_insert": 1,
}

# Properties in the order of their keys: sent again in another order they are still the same content.
_encoder: Final = msgspec.json.Encoder(order="deterministic")


def open_rows(events: Sequence[Event]) -> list[bytes]:
    """Each event as a row without its opening brace, where `rows_of` puts in whose it is.

    Nested values have to be texts by now: the JSON of one may hold line breaks, at which the rows are told apart.
    """
    return _encoder.encode_lines(events)[1:-1].split(b"\n{") if events else []


def open_rows_at_a_glance(events: Sequence[Event], longest: int) -> list[bytes] | None:
    """As `open_rows` where no property can be nested or longer than `longest` bytes; None where that is not certain.

    Counting brackets is what makes it quick: a text with one in it is taken for a nested value.
    """
    lines = _encoder.encode_lines(events)
    braces = len(events) + sum([bool(event.properties) for event in events])
    if b"[" in lines or lines.count(b"{") != braces:
        return None
    rows = lines[1:-1].split(b"\n{")
    return rows if max(map(len, rows)) <= longest else None


def rows_of(scope: Scope, source: str, open_rows: Iterable[bytes]) -> bytes:
    """The lines of an insert, one per row."""
    owner = _encoder.encode({"tenant_id": scope.tenant_id, "environment_id": scope.environment_id, "source": source})
    opening = owner[:-1] + b","
    return opening + (b"\n" + opening).join(open_rows) + b"\n"
