"""`tally bench` measures what it says, on tiny sizes: real processes, and nothing that is not stored or not equal."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app


def run(*options: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["bench", *options, "--json"])
    assert done.exit_code == 0, done.output
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.slow
def test_bench_ingest_finds_every_acknowledged_event_stored(tmp_path: Path) -> None:
    written = tmp_path / "ingest.json"
    sizes = "--requests 6 --events-each 50 --connections 3 --rounds 1 --singles 40 --single-connections 4"
    report = run("ingest", *sizes.split(), "--out", str(written))
    assert json.loads(written.read_text()) == report
    assert (report["bulk"]["acknowledged"], report["bulk"]["stored"]) == (300, 300)
    assert (report["single"]["acknowledged"], report["single"]["stored"]) == (40, 40)
    assert 1 <= report["bulk"]["inserts"] <= 6
    assert [one["stored"] for one in report["engine"]] == [300, 300, 300]
    assert report["base"] in {one["way"] for one in report["engine"]}
    assert min(report["bulk"]["api_peak_mb"], report["single"]["warehouse_peak_mb"]) > 0
    assert [goal["bound"] for goal in report["goals"]] == [0.5, 4000, 150, 400]


@pytest.mark.slow
def test_bench_query_asks_for_the_same_answers_in_every_way() -> None:
    sizes = "--events 3100 --customers 7 --questions 5 --repeats 1 --day-events 1000"
    report = run("query", *sizes.split())
    assert report["answers_agree"] is True
    # 31 events of a hundredth were sent twice, and none of them counts twice.
    assert (report["resent"], report["month_build"]["events"]) == (31, 3100)
    assert report["everybodys_days"]["rows"] == 31 * 7
    assert report["customer_month"]["questions"] == 5
    assert report["large_day"]["events"] == 1000
    assert report["stored_mb"].keys() >= {"events", "usage_hourly", "usage_daily"}
    assert [goal["bound"] for goal in report["goals"]] == [10, 3, 30, 1]


@pytest.mark.slow
def test_bench_billing_gives_each_subscription_one_invoice_of_three_lines() -> None:
    report = run("billing", *["--subscriptions", "8", "--events-each", "5"])
    assert (report["half"]["subscriptions"], report["whole"]["subscriptions"]) == (4, 8)
    assert (report["half"]["lines"], report["whole"]["lines"]) == (12, 24)
    assert sum(report["whole"]["steps"].values()) == pytest.approx(report["whole"]["seconds"], abs=0.01)
    assert [goal["bound"] for goal in report["goals"]] == [30, 1500, 2.2]


@pytest.mark.slow
def test_bench_sync_sends_every_invoice_once() -> None:
    report = run("sync", "--invoices", "8")
    sent, bare = report["sent"], report["bare"]
    assert (sent["invoices"], sent["calls"]["POST /v1/invoices"]) == (8, 1.0)
    assert sum(sent["calls"].values()) == pytest.approx(sent["calls_each"], abs=0.05)
    parts = sum(sent[name] for name in ("steps_ms", "turns_ms", "client_ms", "http_ms"))
    assert parts == pytest.approx(sent["cpu_ms"], abs=0.1)
    assert (sent["sandbox_ms"] > 0, bare["floor_ms"] > 0) == (True, True)
    assert [goal["bound"] for goal in report["goals"]] == [100, 10]


def test_bench_says_where_it_cannot_write_before_it_measures(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "ingest", "--out", str(tmp_path / "missing" / "file.json")])
    assert done.exit_code == 2
    assert "the folder does not exist" in done.output
