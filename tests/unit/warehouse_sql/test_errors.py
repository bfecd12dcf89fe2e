"""Which of the engine's errors pass by themselves: after those the same statement may be sent again."""

from __future__ import annotations

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from billing.errors import Unavailable
from warehouse_sql.errors import WarehouseError, translated


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (243, "Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE)"),
        (75, "Cannot write to file /data/x.bin. (CANNOT_WRITE_TO_FILE_DESCRIPTOR)"),
        (1001, "std::exception: filesystem error: No space left on device ["),
        (241, "Query memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)"),
        (999, "Coordination::Exception: Session expired. (KEEPER_EXCEPTION)"),
    ],
)
def test_no_room_and_overload_pass_by_themselves(code: int, text: str) -> None:
    error = translated(DatabaseError(f"Code: {code}. DB::Exception: {text}", code=code), "insert/events")
    assert isinstance(error, Unavailable)
    assert error.code == "warehouse_unavailable"


def test_a_row_that_cannot_be_read_stays_refused() -> None:
    error = translated(DatabaseError("Code: 27. DB::Exception: Cannot parse input", code=27), "insert/events")
    assert isinstance(error, WarehouseError)
    assert error.engine_code == 27
