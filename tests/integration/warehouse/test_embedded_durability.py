"""What the embedded warehouse has acknowledged is there: after kill -9, among many writers, beside bad neighbours."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from tests.support.waiting import wait_until
from tests.support.warehouse_process import WarehouseProcess, running_warehouse, start_warehouse


def client_of(server: WarehouseProcess) -> httpx.Client:
    return httpx.Client(base_url=server.url, auth=(server.user, server.password), timeout=60)


def ask(client: httpx.Client, statement: str, content: bytes = b"", **url: int) -> str:
    reply = client.post("/", params={"query": statement, **url}, content=content)
    assert reply.status_code == 200, reply.text
    return reply.text.strip()


def test_E1_acknowledged_rows_survive_kill_9_at_any_moment(tmp_path: Path) -> None:
    acknowledged: list[int] = []
    with running_warehouse(tmp_path / "data") as server:
        with closing(client_of(server)) as client:
            ask(client, "CREATE TABLE kept (n UInt64, filler String) ENGINE = MergeTree ORDER BY n")

        def write(first: int) -> None:
            with closing(client_of(server)) as client, suppress(httpx.TransportError):
                for n in range(first, 10_000_000, 4):
                    ask(client, "INSERT INTO kept FORMAT JSONEachRow", b'{"n":%d,"filler":"%s"}' % (n, b"x" * 200))
                    acknowledged.append(n)

        with ThreadPoolExecutor(4) as writers:
            for first in range(4):
                writers.submit(write, first)
            wait_until(lambda: len(acknowledged) >= 40)
            server.kill()
    with running_warehouse(tmp_path / "data") as again, closing(client_of(again)) as client:
        stored = {int(line) for line in ask(client, "SELECT n FROM kept").splitlines()}
        twice = ask(client, "SELECT count() - uniqExact(n) FROM kept")
        intact = {line.split("\t")[1] for line in ask(client, "CHECK TABLE kept").splitlines()}
    assert set(acknowledged) <= stored
    assert (twice, intact) == ("0", {"1"})
    # Beyond what was acknowledged there is at most the one insert of each writer that was under way.
    assert len(stored - set(acknowledged)) <= 4


@pytest.mark.parametrize(("rows", "files"), [(1, 1), (1_000_000, 5)], ids=["part in one file", "part of several files"])
def test_E1_an_insert_is_synced_to_the_disk_before_it_is_acknowledged(
    warehouse_server: WarehouseProcess, rows: int, files: int
) -> None:
    synced = "SELECT sumIf(value, event = 'FileSync'), sumIf(value, event = 'DirectorySync') FROM system.events"
    with closing(client_of(warehouse_server)) as client:
        ask(client, "CREATE TABLE synced (n UInt64) ENGINE = MergeTree ORDER BY n")
        files_before, folders_before = map(int, ask(client, synced).split())
        ask(client, "INSERT INTO synced FORMAT TSV", b"1\n" * rows)
        files_after, folders_after = map(int, ask(client, synced).split())
        ask(client, "DROP TABLE synced SYNC")
    assert files_after >= files_before + files
    assert folders_after >= folders_before + 2, "the part's own folder and, after its renaming, the table's"


def test_rows_survive_a_clean_stop_which_ends_with_status_0(tmp_path: Path) -> None:
    with running_warehouse(tmp_path / "data") as server, closing(client_of(server)) as client:
        ask(client, "CREATE TABLE kept (n UInt64) ENGINE = MergeTree ORDER BY n")
        ask(client, "INSERT INTO kept FORMAT TSV", b"1\n2\n")
        assert server.stop() == 0
    with running_warehouse(tmp_path / "data") as again, closing(client_of(again)) as client:
        assert ask(client, "SELECT sum(n) FROM kept") == "3"


def test_a_running_request_is_answered_before_a_clean_stop(tmp_path: Path) -> None:
    with (
        running_warehouse(tmp_path / "data") as server,
        closing(client_of(server)) as client,
        closing(client_of(server)) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        slow = pool.submit(ask, client, "SELECT sum(sleepEachRow(1)) FROM numbers(2)")
        running = "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow(1)) FROM numbers%'"
        wait_until(lambda: ask(other, running) == "2")
        assert server.stop() == 0
        assert slow.result() == "0"


def test_a_second_server_on_one_data_directory_is_refused_with_a_reason(tmp_path: Path) -> None:
    with running_warehouse(tmp_path / "data") as server:
        with pytest.raises(RuntimeError) as refused:
            start_warehouse(tmp_path / "data")
        assert f"is in use by another warehouse server (process {server.pid})" in str(refused.value)
        assert httpx.get(server.url + "/ping", timeout=60).text == "Ok.\n"


@pytest.mark.parametrize(
    ("arguments", "password", "reason"),
    [
        (["--host", "0.0.0.0"], "x", "can be reached from other machines"),  # noqa: S104 -- refused is what is tested
        ([], "", "TALLY_WAREHOUSE_PASSWORD"),
    ],
)
def test_an_unsafe_start_is_refused(tmp_path: Path, arguments: list[str], password: str, reason: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "warehouse_sql.embedded", "--path", str(tmp_path), *arguments],
        env={"PATH": "/usr/bin", "TALLY_WAREHOUSE_PASSWORD": password},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert ended.stdout == ""
    assert reason in ended.stderr


def test_E4_of_concurrent_inserts_the_bad_are_refused_alone_and_the_good_are_stored_once(
    warehouse_server: WarehouseProcess,
) -> None:
    with closing(client_of(warehouse_server)) as client:
        ask(client, "CREATE DATABASE crowd")
        ask(client, "CREATE TABLE crowd.t (n UInt64) ENGINE = MergeTree ORDER BY n")
        # The view writes as well: a group that failed after it had stored something would count twice here.
        ask(client, "CREATE TABLE crowd.counted (c UInt64) ENGINE = MergeTree ORDER BY c")
        ask(client, "CREATE MATERIALIZED VIEW crowd.v TO crowd.counted AS SELECT count() AS c FROM crowd.t")
    together = threading.Barrier(8)

    def write(worker: int) -> list[int]:
        answers = []
        with closing(client_of(warehouse_server)) as client:
            for turn in range(20):
                together.wait(timeout=60)
                first = (worker * 20 + turn) * 100
                rows = [b'{"n":%d}' % n for n in range(first, first + 100)]
                if worker == turn % 8:
                    rows[50] = b'{"n":"no number"}'
                reply = client.post(
                    "/", params={"query": "INSERT INTO crowd.t FORMAT JSONEachRow"}, content=b"\n".join(rows)
                )
                answers.append(reply.status_code)
                assert reply.status_code == 200 or "(at row 51)" in reply.text
        return answers

    with ThreadPoolExecutor(8) as writers:
        answers = [code for codes in writers.map(write, range(8)) for code in codes]
    with closing(client_of(warehouse_server)) as client:
        stored = ask(client, "SELECT count(), uniqExact(n) FROM crowd.t")
        counted = ask(client, "SELECT sum(c) FROM crowd.counted")
        ask(client, "DROP DATABASE crowd SYNC")
    assert (answers.count(400), answers.count(200)) == (20, 140)
    assert stored == "14000\t14000"
    assert counted == "14000"


def test_E2_an_acknowledged_row_is_in_the_very_next_query_of_anybody(warehouse_server: WarehouseProcess) -> None:
    with closing(client_of(warehouse_server)) as client:
        ask(client, "CREATE DATABASE next")
        ask(client, "CREATE TABLE next.t (worker UInt8, n UInt64) ENGINE = MergeTree ORDER BY (worker, n)")

    def write_and_read(worker: int) -> None:
        with closing(client_of(warehouse_server)) as writer, closing(client_of(warehouse_server)) as reader:
            for n in range(1, 16):
                ask(writer, "INSERT INTO next.t FORMAT JSONEachRow", b'{"worker":%d,"n":%d}' % (worker, n))
                mine = "SELECT count(), max(n) FROM next.t WHERE worker = {worker:UInt8}"
                assert ask(reader, mine, param_worker=worker) == f"{n}\t{n}"

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write_and_read, range(6)))
    with closing(client_of(warehouse_server)) as client:
        assert ask(client, "SELECT count() FROM next.t") == str(6 * 15)
        ask(client, "DROP DATABASE next SYNC")


@pytest.mark.parametrize(
    ("definition", "view", "reason"),
    [
        pytest.param(
            "(n UInt64, m UInt64 MATERIALIZED throwIf(n = 7)) ENGINE = MergeTree ORDER BY n", "1", "395", id="column"
        ),
        pytest.param(
            "(n UInt64, CONSTRAINT c CHECK n != 7) ENGINE = MergeTree ORDER BY n", "1", "469", id="constraint"
        ),
        pytest.param("(n UInt64) ENGINE = MergeTree ORDER BY n", "throwIf(n = 7) = 0", "395", id="view"),
        pytest.param(
            "(n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS parts_to_throw_insert = 1", "1", "252", id="parts"
        ),
    ],
)
def test_E1_an_insert_that_fails_after_its_rows_were_read_is_not_acknowledged(
    warehouse_server: WarehouseProcess, definition: str, view: str, reason: str
) -> None:
    with closing(client_of(warehouse_server)) as client:
        ask(client, "CREATE DATABASE failing")
        try:
            ask(client, f"CREATE TABLE failing.t {definition}")
            ask(client, "CREATE TABLE failing.seen (n UInt64) ENGINE = MergeTree ORDER BY n")
            selected = f"SELECT n FROM failing.t WHERE {view}"  # noqa: S608 -- the test's own text
            ask(client, f"CREATE MATERIALIZED VIEW failing.v TO failing.seen AS {selected}")
            ask(client, "SYSTEM STOP MERGES failing.t")
            for _ in range(2):
                reply = client.post(
                    "/", params={"query": "INSERT INTO failing.t FORMAT JSONEachRow"}, content=b'{"n":1}'
                )
            reply = client.post("/", params={"query": "INSERT INTO failing.t FORMAT JSONEachRow"}, content=b'{"n":7}')
            assert reply.headers.get("X-ClickHouse-Exception-Code") == reason
            assert ask(client, "SELECT count() FROM failing.seen WHERE n = 7") == "0"
        finally:
            ask(client, "DROP DATABASE failing SYNC")


@pytest.mark.parametrize(
    "rows", [b'{"n":1}\n\n;\n\nDROP TABLE rows.t', b'{"n":1};\n\nDROP TABLE rows.t', b'{"n":1}\n\nSELECT 1']
)
@pytest.mark.parametrize("name", ["JSONEachRow", "CSV", "TSV", "Values"])
def test_rows_are_never_run_as_statements(warehouse_server: WarehouseProcess, rows: bytes, name: str) -> None:
    with closing(client_of(warehouse_server)) as client:
        ask(client, "CREATE DATABASE IF NOT EXISTS rows")
        ask(client, "CREATE TABLE IF NOT EXISTS rows.t (n UInt64) ENGINE = MergeTree ORDER BY n")
        assert client.post("/", params={"query": f"INSERT INTO rows.t FORMAT {name}"}, content=rows).status_code == 400
        assert client.post("/", content=f"INSERT INTO rows.t FORMAT {name}\n".encode() + rows).status_code == 400
        assert ask(client, "SELECT count() FROM rows.t") == "0"


def test_omitted_fields_get_their_defaults(warehouse_server: WarehouseProcess) -> None:
    with closing(client_of(warehouse_server)) as client:
        ask(
            client,
            "CREATE TABLE defaults (n UInt64, s String DEFAULT concat('d', toString(n)), "
            "z Nullable(String) DEFAULT 'z', at DateTime64(6, 'UTC') DEFAULT now64(6), "
            "twice UInt64 MATERIALIZED n * 2) ENGINE = MergeTree ORDER BY n",
        )
        ask(client, "INSERT INTO defaults (n, s, z) FORMAT JSONEachRow", b'{"n":1}\n{"n":2,"s":"own","z":null}')
        found = ask(client, "SELECT n, s, z, twice, at > now() - 60 FROM defaults ORDER BY n")
        ask(client, "DROP TABLE defaults SYNC")
    assert found == "1\td1\tz\t2\t1\n2\town\t\\N\t4\t1"


def test_a_client_that_dies_in_the_middle_of_its_body_stores_nothing(warehouse_server: WarehouseProcess) -> None:
    def cut() -> Iterator[bytes]:
        yield b"1\n" * 1000
        raise InterruptedError

    with closing(client_of(warehouse_server)) as client:
        ask(client, "CREATE DATABASE cut")
        ask(client, "CREATE TABLE cut.t (n UInt64) ENGINE = MergeTree ORDER BY n")
        with pytest.raises(InterruptedError):
            client.post("/", params={"query": "INSERT INTO cut.t FORMAT TSV"}, content=cut())
        assert ask(client, "SELECT count() FROM cut.t") == "0"
        ask(client, "DROP DATABASE cut SYNC")


def test_a_body_over_the_limit_is_refused_and_the_engine_runs_in_utc_wherever_it_is(tmp_path: Path) -> None:
    with (
        running_warehouse(
            tmp_path / "data", arguments=["--body-limit", "1000"], environment={"TZ": "Asia/Kolkata", "TZDIR": "/none"}
        ) as server,
        closing(client_of(server)) as client,
    ):
        assert client.post("/", content=b"SELECT 1" + b" " * 1000).status_code == 413
        assert ask(client, "SELECT toHour(toDateTime(0)), toHour(toDateTime(0, 'Asia/Kolkata'))") == "0\t5"
