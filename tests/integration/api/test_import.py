"""`tally import` and `tally export` against the running service: exact, counted once, resumed after kill -9."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from typer.testing import CliRunner, Result

from cli.main import app
from tests.support.api_stack import Stack, Tenant
from tests.support.waiting import wait_until
from tests.support.warehouse_process import WarehouseProcess
from warehouse_sql.client import Warehouse
from warehouse_sql.event_log import EventFilters, StoredEvent, list_events
from warehouse_sql.export import exported_events

DAY = {"start_time": "2024-03-01T00:00:00Z", "end_time": "2024-03-02T00:00:00Z"}
METER: dict[str, Any] = {
    "id": "meter_tokens",
    "name": "Tokens",
    "event_name": "llm.request",
    "aggregation": {"type": "sum", "property": "tokens"},
}
HEADER = "event_name,customer_id,timestamp,tokens\n"
REPO = Path(__file__).parents[3]


class Tally:
    """The command with a tenant's key and a home of its own, in this process or as one that can be killed."""

    def __init__(self, stack: Stack, tenant: Tenant, home: Path) -> None:
        self.home = home
        self.environment = {
            **stack.environment,
            "TALLY_HOME": str(home),
            "TALLY_API_KEY": tenant.key,
            "TALLY_PUBLIC_URL": stack.url,
        }

    def run(self, *words: str, code: int = 0, **environment: str) -> Result:
        done = CliRunner().invoke(app, words, env={**self.environment, **environment})
        assert done.exit_code == code, done.output
        return done

    def json(self, *words: str, code: int = 0, **environment: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.run(*words, "--json", code=code, **environment).stdout.splitlines()[-1])
        return told

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "cli", *words],
            cwd=REPO,
            env={**os.environ, **self.environment},
            start_new_session=True,
        )

    def acknowledged(self) -> int:
        """The row up to which the only import of this home has come."""
        [*states] = (self.home / "imports").glob("*.json")
        return json.loads(states[0].read_text())["progress"]["row"] if states else 0


@pytest.fixture
def tally(stack: Stack, tenant: Tenant, tmp_path: Path) -> Tally:
    tenant.make("meters", METER)
    return Tally(stack, tenant, tmp_path / "home")


@pytest.fixture(scope="module")
def warehouse(warehouse_process: WarehouseProcess) -> Iterator[Warehouse]:
    server = warehouse_process
    with closing(Warehouse(server.url, server.user, server.password)) as client:
        yield client


def _stored(warehouse: Warehouse, tenant: Tenant) -> list[StoredEvent]:
    """The tenant's events, newest first."""
    return list_events(warehouse, tenant.scope, EventFilters(), limit=1000).items


def _usage(tenant: Tenant, customer_id: str = "acme") -> tuple[str, int]:
    [row] = tenant.make("events/usage/meter", {"meter_id": "meter_tokens", "customer_id": customer_id, **DAY})["data"]
    return row["value"], row["events"]


def _csv(path: Path, tokens: list[str]) -> Path:
    path.write_text(HEADER + "".join(f"llm.request,acme,2024-03-01T10:00:00Z,{each}\n" for each in tokens))
    return path


def test_E6_a_csv_counts_with_every_digit_and_once_however_often_it_is_imported(
    tally: Tally, tenant: Tenant, tmp_path: Path
) -> None:
    path = _csv(tmp_path / "e.csv", ["123456789012345678.123456789012", "0.1", "2"])
    for more, accepted in (((), 3), ((), 3), (("--again",), 0)):
        told = tally.json("import", str(path), *more)
        assert (told["rows"], told["accepted"], told["duplicates"], told["refused"]) == (3, accepted, 3 - accepted, 0)
        assert _usage(tenant) == ("123456789012345680.223456789012", 3)
    # Another home knows nothing of it, and the rows still have the same identities.
    tally.json("import", str(path), TALLY_HOME=str(tmp_path / "other"))
    assert _usage(tenant) == ("123456789012345680.223456789012", 3)


def test_columns_zones_and_units_are_said_on_the_command_line(
    tally: Tally, tenant: Tenant, warehouse: Warehouse, tmp_path: Path
) -> None:
    path = tmp_path / "e.tsv.gz"
    path.write_bytes(gzip.compress(b"account\tat\tn\nacme\t2024-03-01 00:30:00\t1\nacme\t2024-03-02 00:30:00\t2\n"))
    words = ("--map", "customer_id=account", "--map", "timestamp=at", "--set", "event_name=llm.request")
    tally.json("import", str(path), *words, "--timezone", "Europe/Berlin", "--properties", "n")
    late, early = _stored(warehouse, tenant)
    assert (late.timestamp, late.properties) == (datetime(2024, 3, 1, 23, 30, tzinfo=UTC), {"n": "2"})
    assert early.timestamp == datetime(2024, 2, 29, 23, 30, tzinfo=UTC)
    counted = tmp_path / "counted.ndjson.zst"
    line = {"account": "acme", "event_name": "llm.request", "at": 1709287200000, "tokens": 5}
    counted.write_bytes(zstandard.compress(json.dumps(line).encode()))
    tally.json("import", str(counted), *words[:4], "--timestamp-unit", "ms")
    assert _usage(tenant) == ("5", 1)


def test_parquet_is_exact(tally: Tally, tenant: Tenant, tmp_path: Path) -> None:
    at = pa.array([datetime(2024, 3, 1, 10, tzinfo=UTC)] * 2)
    tokens = pa.array([Decimal("9007199254740993.000000001"), Decimal("0.1")], pa.decimal128(38, 9))
    names = {"event_name": ["llm.request"] * 2, "customer_id": ["acme"] * 2, "timestamp": at, "tokens": tokens}
    pq.write_table(pa.table(names), tmp_path / "e.parquet")
    tally.json("import", str(tmp_path / "e.parquet"))
    assert _usage(tenant) == ("9007199254740993.100000001", 2)


def test_E4_refused_rows_are_reported_by_number_and_the_others_are_stored(
    tally: Tally, tenant: Tenant, tmp_path: Path
) -> None:
    path = tmp_path / "e.csv"
    rows = [
        "acme,2024-03-01T10:00:00Z,1",
        "acme,2024-03-01 10:00:00,2",
        "acme",
        "cus_01ARZ3NDEKTSV4RRFFQ69G5FAV,2024-03-01T10:00:00Z,4",
        "acme,2024-03-01T10:00:00Z,8",
    ]
    path.write_text("customer_id,timestamp,tokens\n" + "\n".join(rows))
    expected = [
        ("2", "timezone_missing", "timestamp"),
        ("3", "wrong_number_of_cells", ""),
        ("4", "customer_not_found", "customer_id"),
    ]
    words = ("import", str(path), "--set", "event_name=llm.request", "--report", str(tmp_path / "refused.csv"))
    # The second run sends nothing and still reports what the first one was refused.
    for _ in range(2):
        told = tally.json(*words, code=3)
        assert (told["rows"], told["accepted"], told["refused"]) == (5, 2, 3)
        with (tmp_path / "refused.csv").open(newline="") as report:
            found = list(csv.DictReader(report))
        assert [(row["row"], row["code"], row["field"]) for row in found] == expected
        assert all(row["file"] == str(path) and row["reason"] for row in found)
    assert _usage(tenant) == ("9", 2)


def test_a_dry_run_decodes_and_sends_nothing(
    tally: Tally, tenant: Tenant, warehouse: Warehouse, tmp_path: Path
) -> None:
    path = tmp_path / "e.csv"
    path.write_text(HEADER + "llm.request,acme,2024-03-01T10:00:00Z,1\nllm.request,acme,yesterday,2\n")
    report = tmp_path / "refused.ndjson"
    nowhere = {"TALLY_PUBLIC_URL": "http://127.0.0.1:9", "TALLY_API_KEY": ""}
    told = tally.json("import", str(path), "--dry-run", "--report", str(report), code=3, **nowhere)
    assert (told["accepted"], told["refused"], told["dry_run"]) == (1, 1, True)
    assert json.loads(report.read_text())["code"] == "timestamp_not_rfc3339"
    assert not (tally.home / "imports").exists()
    assert _stored(warehouse, tenant) == []


def test_E1_an_import_that_is_killed_goes_on_and_every_row_counts_once(
    tally: Tally, tenant: Tenant, tmp_path: Path
) -> None:
    rows = 12_000
    path = _csv(tmp_path / "e.csv", [str(number) for number in range(rows)])
    process = tally.start("import", str(path))
    wait_until(lambda: tally.acknowledged() > rows // 4 or process.poll() is not None)
    assert process.poll() is None, "the import was over before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    killed_at = tally.acknowledged()
    assert killed_at < rows
    told = tally.json("import", str(path))
    # What was on its way when it was killed may have been stored.
    assert (told["rows"], told["accepted"] + told["duplicates"]) == (rows, rows)
    assert told["files"][0]["resumed_after"] == killed_at
    assert _usage(tenant) == (str(rows * (rows - 1) // 2), rows)


def test_an_import_that_gets_no_answer_stops_with_what_to_do_and_goes_on_later(
    tally: Tally, tenant: Tenant, tmp_path: Path
) -> None:
    path = _csv(tmp_path / "e.csv", ["1"])
    done = tally.run("import", str(path), "--retry-for", "0", code=1, TALLY_PUBLIC_URL="http://127.0.0.1:9")
    assert "tally up" in done.stderr
    tally.run("import", str(path))
    assert _usage(tenant) == ("1", 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--map", "customer_id"), "--map customer_id"),
        (("--map", "customer_id=none"), "no column none"),
        (("--timezone", "Mars/Base"), "--timezone Mars/Base"),
        (("--timestamp-unit", "weeks"), "weeks"),
        (("--format", "parquet"), "not a Parquet file"),
        (("--delimiter", ";;"), "one character"),
    ],
)
def test_a_wrong_call_is_told_and_nothing_is_sent(
    tally: Tally, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    done = tally.run("import", str(_csv(tmp_path / "e.csv", ["1"])), *words, code=2)
    assert said in done.stderr


def test_a_key_without_the_scope_is_told(stack: Stack, tally: Tally, tenant: Tenant, tmp_path: Path) -> None:
    reader = stack.with_key(tenant.scope, ["usage:read"])
    path = _csv(tmp_path / "e.csv", ["1"])
    done = tally.run("import", str(path), code=1, TALLY_API_KEY=reader.key)
    assert "403" in done.stderr
    assert reader.key not in done.output


def test_E6_what_is_exported_and_imported_elsewhere_is_the_same_usage(
    stack: Stack, tally: Tally, tenant: Tenant, warehouse: Warehouse, tmp_path: Path
) -> None:
    odd = {"tokens": "T", "s": 'é"\n', "z": None, "l": [1, "x"], "o": {"a": "T", "b": {}}, "yes": True}
    events = [
        {
            "event_id": f"e{n}",
            "event_name": "llm.request",
            "customer_id": f"c{n % 2}",
            "timestamp": at,
            "properties": odd,
        }
        for n, at in enumerate(["2024-03-01T00:00:00Z", "2024-03-01T23:59:59.999999Z", "2024-03-02T12:00:00Z"])
    ]
    more = {"event_name": "other", "customer_id": "c0", "timestamp": "2024-03-01T10:00:00Z", "idempotency_key": "k"}
    body = json.dumps({"events": [*events, more]}).replace('"T"', "123456789012345678.10")
    sent = tenant.http.post("/api/v1/events/bulk", content=body, headers={"Content-Type": "application/json"})
    assert sent.json()["accepted"] == 4
    # The same identity with other content, a day later: it counts nowhere and is no part of an export.
    tenant.make("events", {**events[0], "timestamp": "2024-03-02T00:00:00Z", "properties": {"tokens": 5}})

    out = tmp_path / "out"
    told = tally.json("export", "--from", "2024-03-01", "--to", "2024-03-03", "--out", str(out))
    files = [(each["day"], each["events"]) for each in told["files"]]
    assert (told["events"], files) == (4, [("2024-03-01", 3), ("2024-03-02", 1), ("2024-03-03", 0)])
    assert sorted(path.name for path in out.iterdir()) == [f"2024-03-0{day}.parquet" for day in (1, 2, 3)]

    other = stack.tenant()
    other.make("meters", METER)
    elsewhere = Tally(stack, other, tmp_path / "elsewhere")
    for accepted in (4, 0):
        told = elsewhere.json("import", "--again", *map(str, sorted(out.iterdir())))
        assert (told["accepted"], told["duplicates"], told["refused"]) == (accepted, 4 - accepted, 0)
    for customer_id in ("c0", "c1"):
        assert _usage(other, customer_id) == _usage(tenant, customer_id) != ("0", 0)
    kept = list_events(warehouse, tenant.scope, EventFilters(superseded=False), limit=1000).items
    for before, after in zip(kept, _stored(warehouse, other), strict=True):
        assert replace(before, ingested_at=after.ingested_at) == after


def test_all_flags_what_counts_nowhere_and_an_import_refuses_it(tally: Tally, tenant: Tenant, tmp_path: Path) -> None:
    first = {"event_id": "e", "event_name": "a", "customer_id": "c", "timestamp": "2024-03-01T10:00:00Z"}
    tenant.make("events", first)
    tenant.make("events", {**first, "timestamp": "2024-03-01T12:00:00Z"})
    told = tally.json("export", "--from", "2024-03-01", "--out", str(tmp_path), "--all")
    assert told["events"] == 2
    rows = pq.read_table(tmp_path / "2024-03-01.parquet").to_pylist()
    assert [row["superseded_because"] for row in rows] == ["", "conflict"]
    told = tally.json("import", str(tmp_path / "2024-03-01.parquet"), "--dry-run", code=3)
    assert (told["accepted"], told["refused"]) == (1, 1)


def test_an_export_is_of_one_environment_and_of_the_name_and_customer_that_were_asked_for(
    stack: Stack, tally: Tally, tenant: Tenant, tmp_path: Path
) -> None:
    ours = tenant.make("customers", {"name": "Acme", "customer_id": "acme"})["id"]
    stranger = stack.tenant()
    for name in ("a", "b"):
        for customer_id in ("acme", "other"):
            event = {"event_name": name, "customer_id": customer_id, "timestamp": "2024-03-01T10:00:00Z"}
            tenant.make("events", event)
            stranger.make("events", event)
    words = ("export", "--from", "2024-03-01", "--out", str(tmp_path))
    assert tally.json(*words)["events"] == 4
    assert tally.json(*words, "--event-name", "a")["events"] == 2
    for customer_id in ("acme", ours):
        assert tally.json(*words, "--event-name", "a", "--customer", customer_id)["events"] == 1
    done = tally.run(*words, "--customer", "cus_01ARZ3NDEKTSV4RRFFQ69G5FAV", code=1)
    assert "no customer" in done.stderr


def test_an_export_reads_pages_and_each_event_is_in_one_of_them(tenant: Tenant, warehouse: Warehouse) -> None:
    sent = [
        {
            "event_id": f"e{n}",
            "event_name": "a",
            "customer_id": f"c{n % 3}",
            "timestamp": f"2024-03-01T{n % 5:02}:00:00Z",
        }
        for n in range(40)
    ]
    tenant.make("events/bulk", {"events": sent})
    day = date(2024, 3, 1)
    for at_once in (1, 7, 40, 41):
        pages = exported_events(warehouse, tenant.scope, day, "a", None, superseded=False, at_once=at_once)
        found = [event_id for page in pages for event_id in page["event_id"].to_pylist()]
        assert sorted(found) == sorted(event["event_id"] for event in sent)
