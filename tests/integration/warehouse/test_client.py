"""`Warehouse`: named statements, exact values, our errors, safe between threads."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import warehouse_sql.client
from billing.errors import Unavailable
from tests.support.warehouse_process import WarehouseProcess, running_warehouse
from warehouse_sql.client import Warehouse
from warehouse_sql.errors import UnknownQuery, WarehouseError
from warehouse_sql.load import sql
from warehouse_sql.retry import Retry

STATEMENTS = {
    "test/make": "CREATE TABLE t (id UInt32, at DateTime64(6, 'UTC'), amount Decimal(38, 12), text String) "
    "ENGINE = MergeTree ORDER BY id",
    "test/read": "SELECT id, at, amount, text FROM t WHERE id >= {low:UInt32} ORDER BY id",
    "test/echo": "SELECT {value:String} AS value, {list:Array(String)} AS list, {exact:Decimal(38, 12)} AS exact, "
    "{at:DateTime64(6, 'UTC')} AS at",
    "test/comment": "SELECT getSetting('log_comment') AS comment",
    "test/missing": "SELECT * FROM no_such_table",
    "test/slow": "SELECT sum(number) FROM system.numbers",
}
AT = datetime(2026, 3, 29, 0, 59, 59, 999999, tzinfo=UTC)


@pytest.fixture
def client(empty_warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """A client for an empty database, which knows the statements of this file as well."""
    with closing(empty_warehouse.at("system")) as server:
        server.command("setup/database", {"database": empty_warehouse.database})
    monkeypatch.setattr(warehouse_sql.client, "sql", lambda name, package: STATEMENTS.get(name) or sql(name, package))
    return empty_warehouse


@pytest.fixture
def nobody_listens() -> Iterator[str]:
    """An address where nothing answers: bound, so that no other process takes it, and not listening."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_values_come_back_exactly_as_they_were_sent(client: Warehouse) -> None:
    sent: dict[str, Any] = {
        "value": "it's \\ \t",
        "list": ["a'", ""],
        "exact": Decimal("99999999999999999999.000000000001"),
        "at": AT,
    }
    (row,) = client.rows("test/echo", sent)
    assert row == sent
    frame = client.frame("test/echo", sent)
    assert frame.row(0, named=True) == sent
    assert frame.schema["exact"] == pl.Decimal(38, 12)


def test_every_way_to_insert_stores_the_same_rows(client: Warehouse) -> None:
    client.command("test/make")
    table = pa.table(
        {
            "id": pa.array([1, 2], pa.uint32()),
            "at": [AT, AT],
            "amount": [Decimal("0.1"), Decimal(-7)],
            "text": ["a", "b"],
        }
    )
    client.insert_arrow("t", table)
    client.insert_frame("t", pl.DataFrame({"id": [3], "text": ["c"]}, schema={"id": pl.UInt32, "text": pl.String}))
    client.insert_raw("t", ["id", "amount"], b'{"id": 4, "amount": "1e-12"}\n', "JSONEachRow")
    rows = client.rows("test/read", {"low": 1})
    assert [(row["id"], row["amount"], row["text"]) for row in rows] == [
        (1, Decimal("0.1"), "a"),
        (2, Decimal(-7), "b"),
        (3, Decimal(0), "c"),
        (4, Decimal("0.000000000001"), ""),
    ]
    assert rows[0]["at"] == AT


def test_a_query_carries_its_name(client: Warehouse) -> None:
    assert client.rows("test/comment") == [{"comment": "test/comment"}]


def test_an_unknown_name_is_a_clear_error_before_anything_is_sent(nobody_listens: str) -> None:
    with closing(Warehouse(nobody_listens, "u", "p")) as client, pytest.raises(UnknownQuery, match="queries/no_such"):
        client.rows("queries/no_such")


def test_the_engines_refusal_keeps_its_code_and_names_the_query_but_not_the_server(client: Warehouse) -> None:
    with pytest.raises(WarehouseError) as refused:
        client.rows("test/missing")
    assert (refused.value.engine_code, refused.value.engine_name) == (60, "UNKNOWN_TABLE")
    assert refused.value.query == "test/missing"
    assert "no_such_table" in refused.value.detail
    assert client.url not in str(refused.value)
    assert "version" not in str(refused.value)


def test_a_wrong_password_is_refused_and_never_shown(warehouse_server: WarehouseProcess) -> None:
    with closing(Warehouse(warehouse_server.url, warehouse_server.user, "not-the-secret")) as client:
        with pytest.raises(WarehouseError) as refused:
            client.ping()
        assert refused.value.engine_code == 516
        assert "not-the-secret" not in repr(client) + repr(refused.value)


def test_a_server_that_is_down_is_unavailable_and_reads_are_tried_again(nobody_listens: str) -> None:
    waits: list[float] = []
    retry = Retry(attempts=3, first_wait_seconds=0.1, sleep=waits.append)
    with closing(Warehouse(nobody_listens, "u", "p", retry=retry)) as client:
        with pytest.raises(Unavailable) as down:
            client.rows("setup/applied_migrations")
        assert down.value.retry_after_seconds == 1
        assert [low <= wait <= 2 * low for low, wait in zip([0.05, 0.1], waits, strict=True)] == [True, True]
        with pytest.raises(Unavailable):
            client.insert_raw("t", None, b"{}", "JSONEachRow")
        assert len(waits) == 2, "an insert is never tried again"
        assert client.ping() is False


def test_a_read_that_takes_too_long_is_stopped_and_unavailable(
    client: Warehouse, warehouse_server: WarehouseProcess
) -> None:
    server = warehouse_server
    quick = Warehouse(
        server.url, server.user, server.password, client.database, read_timeout_seconds=1, retry=Retry(attempts=1)
    )
    with closing(quick), pytest.raises(Unavailable):
        quick.rows("test/slow")


def test_a_client_outlives_a_restart_of_the_server(tmp_path: Path) -> None:
    with running_warehouse(tmp_path, password="same") as first:
        port = int(first.url.rpartition(":")[2])
        client = Warehouse(first.url, first.user, first.password, "system", retry=Retry(attempts=1))
        assert client.ping()
        first.kill()
        assert client.ping() is False
    with running_warehouse(tmp_path, password="same", port=port), closing(client):
        assert client.ping()


def test_threads_share_a_client(client: Warehouse) -> None:
    client.command("test/make")

    def write_and_read(n: int) -> int:
        client.insert_raw("t", ["id", "text"], b'{"id": %d, "text": "%d"}' % (n, n), "JSONEachRow")
        return int(client.rows("test/read", {"low": n})[0]["text"])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write_and_read, range(40))) == list(range(40))
    assert len(client.rows("test/read", {"low": 0})) == 40


@pytest.mark.parametrize("value", [0.1, {"a": "b"}])
def test_a_parameter_that_cannot_be_exact_is_refused(client: Warehouse, value: Any) -> None:
    with pytest.raises(TypeError, match="the parameter low"):
        client.rows("test/read", {"low": value})
