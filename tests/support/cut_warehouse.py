"""A warehouse whose line is cut in the middle of a piece of work, as when its process or ours dies there."""

from __future__ import annotations

from typing import Any

from billing.errors import Unavailable
from warehouse_sql.client import Warehouse


class CutOff(Warehouse):
    """The same warehouse, reached over a line that is cut after so many writes."""

    def __init__(self, other: Warehouse, writes: int) -> None:
        super().__init__(other.url, other.user, other._password, other.database)
        self.writes = writes

    def _count(self) -> None:
        if self.writes == 0:
            raise Unavailable("warehouse_unavailable", "the line is cut")
        self.writes -= 1

    def command(self, *args: Any, **options: Any) -> None:
        self._count()
        super().command(*args, **options)

    def insert_raw(self, *args: Any, **options: Any) -> None:
        self._count()
        super().insert_raw(*args, **options)
