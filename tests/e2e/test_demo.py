"""The whole line on real processes: `tally demo` proves itself, also when processes are killed in the middle."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from cli.demo.run import Demo, _Bulk
from cli.demo.trace import BUNDLED_TRACE, choose_period, load_trace
from cli.stack.home import Home
from cli.stack.state import read_state
from cli.stack_commands import start_detached, stop_stack


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    place = Home(tmp_path / "home")
    yield place
    stop_stack(place)


def test_another_trace_of_the_same_shape_becomes_paid_invoices_and_proves_each_total(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        + "".join(f"2024-0{1 + i % 2}-{1 + i % 28:02d} 0{i % 9}:00:00.{i:07d},{i * 7},{i * 3}\n" for i in range(500))
    )
    report = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "cli", "demo", "--trace", trace, "--customers", "3", "--report", report],
        env={**os.environ, "TALLY_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(report.read_text())
    assert result["ok"] is True
    assert result["period"] == {"start": "2024-01-01T00:00:00+00:00", "end": "2024-04-01T00:00:00+00:00"}
    # Customer 0 has rows 0, 3, … 498: 167 requests, 7 and 3 tokens times their sum 41,583.
    first = result["customers"][0]
    assert first["usage"] == {"prompt_tokens": "291081", "completion_tokens": "124749", "requests": "167"}
    # 29.00 + (10 + 10 + 72 + 114,749 x 0.005 = 665.745 -> 665.75) + 292 packages x 0.25 + 167 x 0.0015 = 0.25
    assert first["billed"] == first["expected"] == first["stripe_total"] == "768.00"
    assert [row["payment_status"] for row in result["customers"]] == ["paid", "paid", "failed"]


class _Interrupted(Demo):
    """Kills the API and the warehouse, with no chance to say goodbye, while bulks are being sent."""

    home: Home

    def _bulks(self) -> Iterator[_Bulk]:
        for number, bulk in enumerate(super()._bulks()):
            victim = {2: "api", 5: "warehouse", 8: "api"}.get(number)
            if victim:
                threading.Timer(0.01, self._kill, [victim]).start()
            yield bulk

    def _kill(self, service: str) -> None:
        state = read_state(self.home.state_file)
        assert state is not None
        os.killpg(state.services[service].pid, signal.SIGKILL)


def test_E1_killing_api_and_warehouse_while_sending_leaves_every_total_exact(home: Home) -> None:
    trace = load_trace(BUNDLED_TRACE).head(12_000)
    first, last = trace.select(a=pl.col("at").min(), b=pl.col("at").max()).row(0)
    told: list[str] = []
    public = start_detached(home)
    demo = _Interrupted(public, trace, choose_period(first, last, datetime.now(UTC)), 10, told.append)
    demo.home = home
    try:
        outcomes = demo.run()
    finally:
        demo.close()
    assert [o for o in outcomes if not o.agrees] == [], "\n".join(told)
    state = read_state(home.state_file)
    assert state is not None
    assert state.services["api"].restarts == 2
    assert state.services["warehouse"].restarts == 1
