"""The process: it says why it cannot start, stops cleanly, and shares its port with nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tests.support.api_process import start_api
from tests.support.api_stack import Stack

REPO = Path(__file__).parents[3]


def _start(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "api", *arguments]
    environment = {**os.environ, **settings}
    return subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_wrong_setting_is_named_and_not_shown() -> None:
    done = _start(TALLY_MAX_BODY_BYTES="hunter2")
    assert done.returncode == 2
    assert "max_body_bytes" in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_told(stack: Stack) -> None:
    done = _start("--port", stack.url.rpartition(":")[2], **stack.environment)
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert httpx.get(f"{stack.url}/healthz", trust_env=False, timeout=60).is_success


def test_a_signal_ends_it_cleanly_and_kill_9_leaves_the_port_free(stack: Stack, tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    api = start_api(stack.environment, log)
    port = int(api.url.rpartition(":")[2])
    api.process.send_signal(signal.SIGKILL)
    api.process.wait(timeout=30)
    again = start_api(stack.environment, log, port)
    assert again.stop() == 0
    assert "Traceback" not in log.read_text()


def test_it_is_alive_but_not_ready_before_the_stores_are_there(stack: Stack, tmp_path: Path) -> None:
    nothing = {
        "TALLY_LEDGER_URL": f"sqlite:///{tmp_path / 'never_migrated.sqlite3'}",
        "TALLY_WAREHOUSE_URL": "http://127.0.0.1:9",
    }
    api = start_api({**stack.environment, **nothing}, tmp_path / "api.log", until="/healthz")
    ready = httpx.get(f"{api.url}/readyz", trust_env=False, timeout=30)
    parts = {"status": "down", "ledger": "down", "warehouse": "down", "journal": "empty"}
    assert (ready.status_code, ready.json()) == (503, parts)
    assert api.stop() == 0
