"""The write that acknowledges: it returns when the engine has the events on disk (E1), and not before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from billing.errors import Unavailable
from billing.scope import Scope
from ingestion.event import Event
from ingestion.rows import COLUMNS, FORMAT, SETTINGS, TABLE, open_rows, rows_of
from warehouse_sql.client import Warehouse
from warehouse_sql.errors import WarehouseError

__all__ = ["EventWriter", "Written"]

# No such table or database yet, an account that is not let in or may not write: no fault of the rows, which can wait.
_NOT_ABOUT_ROWS: Final = frozenset({60, 81, 192, 193, 194, 497, 516})


@dataclass(frozen=True)
class Written:
    """How many events were stored, and how many had an identity that the same batch had named before."""

    stored: int
    duplicates: int


class EventWriter:
    """Writes rows, each batch as one insert. Safe to share between threads."""

    def __init__(self, warehouse: Warehouse, source: str = "api") -> None:
        self._warehouse = warehouse
        self._source = source

    def write(self, scope: Scope, events: Sequence[Event]) -> Written:
        """Store the events; of those with the same identity the first (E3). As `insert`."""
        first: dict[str, Event] = {}
        for event in events:
            first.setdefault(event.identity, event)
        if first:
            self.insert(rows_of(scope, self._source, open_rows(list(first.values()))))
        return Written(stored=len(first), duplicates=len(events) - len(first))

    def insert(self, rows: bytes) -> None:
        """Store lines of `rows_of`, of any scopes.

        Raises Unavailable when the warehouse is down or does not answer in time: then nothing is acknowledged, and
        sending the same events again is safe, whether or not they had been stored. WarehouseError when it refused the
        rows themselves.
        """
        try:
            self._warehouse.insert_raw(TABLE, COLUMNS, rows, FORMAT, SETTINGS)
        except WarehouseError as refused:
            if refused.engine_code not in _NOT_ABOUT_ROWS:
                raise
            raise Unavailable(
                "warehouse_not_ready",
                f"The warehouse takes no events (engine error {refused.engine_code}).",
                hint="Run `tally migrate`, and check the warehouse's user and password.",
                retry_after_seconds=5,
            ) from refused
