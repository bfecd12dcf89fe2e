"""What can go wrong between us and the warehouse.

TallyError
├── WarehouseError      the engine refused or failed a statement; `engine_code` is ClickHouse's number
├── UnknownQuery        no such .sql file: a mistake in the program
├── MigrationRefused    an applied migration was edited, is missing, or is out of order
└── Unavailable         (billing.errors) the engine cannot be reached, is too slow, or is overloaded
"""

from __future__ import annotations

import re

from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from urllib3.exceptions import HTTPError

from billing.errors import TallyError, Unavailable

# The engine's errors that pass by themselves: too many queries or parts, no memory, no thread, no room on the disk or
# no file to be had on it, timeouts, lost connections.
_PASSING = frozenset({75, 76, 159, 160, 202, 203, 209, 210, 236, 241, 242, 243, 252, 279, 319, 425, 439, 745, 999})
# A full disk also shows as an error of the system's own, under whatever number.
_NO_ROOM = "No space left on device"
_TEXT = re.compile(
    r"DB::Exception: (?P<text>.*?)(?:\s*\(version [^()]*(?:\([^()]*\))?\))?(?:\s*\(for url \S+\))?\s*$", re.DOTALL
)


class WarehouseError(TallyError):
    """The engine's own refusal. `engine_code` and `engine_name` are ClickHouse's, e.g. 60 and `UNKNOWN_TABLE`."""

    def __init__(
        self, engine_code: int, message: str, *, engine_name: str | None = None, query: str | None = None
    ) -> None:
        where = f" (in {query})" if query else ""
        super().__init__("warehouse_error", f"The warehouse answered {engine_code}{where}: {message}")
        self.engine_code = engine_code
        self.engine_name = engine_name
        self.message = message
        self.query = query


class UnknownQuery(TallyError):
    """There is no SQL file of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            "unknown_query",
            f"There is no query named {name!r}.",
            hint="Names are paths under warehouse_sql without .sql, e.g. queries/usage_by_day.",
        )


class MigrationRefused(TallyError):
    """The migrations on disk do not fit the ones that the warehouse has applied."""


def translated(error: Exception, query: str) -> Exception:
    """Our error for one of clickhouse-connect's, without the address or the version of the server in its text.

    A mistake of the program that never reached the server (a missing parameter, a value of a wrong type) stays itself.
    """
    code = error.code if isinstance(error, DatabaseError) else None
    if code is None:
        if isinstance(error, (OperationalError, OSError, HTTPError)):
            return Unavailable(
                "warehouse_unavailable", "The warehouse cannot be reached or is too slow.", retry_after_seconds=1
            )
        return error
    if code in _PASSING or _NO_ROOM in str(error):
        return Unavailable(
            "warehouse_unavailable",
            f"The warehouse is overloaded or gave up (engine error {code}).",
            retry_after_seconds=1,
        )
    found = _TEXT.search(str(error))
    name = error.name if isinstance(error, DatabaseError) else None
    return WarehouseError(code, found["text"] if found else str(error), engine_name=name, query=query)
