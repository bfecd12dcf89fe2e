"""Starts the real Stripe sandbox as a process of its own, for tests that talk to it through the official client."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import httpx

READY_SECONDS = 60.0
ROOT = Path(__file__).resolve().parents[2]
GOOD_CARD = {"card_number": "4242 4242 4242 4242", "exp_month": "12", "exp_year": "2045", "cvc": "123"}


@cache
def http() -> httpx.Client:
    """One client for all tests, as making one is slow; it keeps no connections, so nothing is left open."""
    return httpx.Client(timeout=20, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


def new_account(mode: str = "test") -> str:
    """A fresh API key, which is a fresh account: tests that take one each never see each other."""
    return f"sk_{mode}_{secrets.token_hex(12)}"


@dataclass
class SandboxProcess:
    """A running sandbox: where it is, what it records, and how to end it."""

    process: subprocess.Popen[str]
    url: str
    record: Path | None
    _read: int = field(default=0, repr=False)
    _exchanges: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def stop(self) -> int:
        """A clean stop; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def kill(self) -> None:
        """kill -9, as the worst moment would."""
        self.process.kill()
        self.process.wait(timeout=30)

    def recorded(self) -> list[dict[str, Any]]:
        """Every exchange so far, in the form that the contract checker reads."""
        if self.record is not None and self.record.exists():
            with self.record.open("rb") as file:
                file.seek(self._read)
                fresh = file.read().rpartition(b"\n")[0]
            self._read += len(fresh) + 1 if fresh else 0
            self._exchanges += [json.loads(line) for line in fresh.splitlines()]
        return list(self._exchanges)

    def control(self, key: str) -> Control:
        """The control paths of the account of `key`."""
        return Control(self.url, key)


@dataclass(frozen=True)
class Control:
    """The sandbox's control API for one account; see integrations/stripe/sandbox/README.md."""

    url: str
    key: str

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer of `/_sandbox{path}`; httpx.HTTPStatusError when it is refused."""
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = http().request(method, f"{self.url}/_sandbox{path}", json=body, headers=headers, timeout=60)
        answer.raise_for_status()
        return dict(answer.json())

    def fault(self, **rule: Any) -> int:
        """Plan a fault; `control.fault(action="drop", path="/v1/invoices/*/pay", when="after")`."""
        return int(self.call("POST", "/faults", rule)["id"])

    def fault_log(self) -> list[dict[str, Any]]:
        return list(self.call("GET", "/faults/log")["log"])

    def clock(self, **move: Any) -> dict[str, Any]:
        """`freeze=True`, `set=seconds since the epoch`, `advance=seconds`; what became due is done on return."""
        return self.call("POST", "/clock", move)

    def settings(self, **changes: Any) -> dict[str, Any]:
        return self.call("POST", "/settings", changes)

    def deliveries(self) -> dict[str, Any]:
        return self.call("GET", "/deliveries")

    def ledger(self, customer: str | None = None) -> list[dict[str, Any]]:
        """What each customer was charged, in minor units, charge by charge."""
        query = f"?customer={customer}" if customer else ""
        return list(self.call("GET", f"/ledger{query}")["ledger"])

    def wait_idle(self, timeout: float = 20, *, retries: bool = True) -> dict[str, Any]:
        """Until every due job ran and every delivery is over."""
        state = self.call("POST", "/idle", {"timeout": timeout, "retries": retries})
        assert state["idle"], state
        return state

    def reset(self) -> None:
        self.call("POST", "/reset")


def webhook_endpoint(sandbox: str, key: str, url: str) -> dict[str, Any]:
    """A new endpoint at which the account's events are delivered to `url`, all of them; its `secret` signs."""
    answer = http().post(
        f"{sandbox}/v1/webhook_endpoints",
        data={"url": url, "enabled_events[0]": "*"},
        headers={"Authorization": f"Bearer {key}", "Idempotency-Key": f"endpoint:{url}"},
    )
    answer.raise_for_status()
    return dict(answer.json())


def submit_card(url: str, **changes: str) -> httpx.Response:
    """Play the visitor of a checkout or invoice page; redirects are not followed. A good Visa unless changed."""
    return http().post(url, data={**GOOD_CARD, **changes})


def start_sandbox(
    path: Path | None = None, *, port: int = 0, record: Path | None = None, arguments: tuple[str, ...] = ()
) -> SandboxProcess:
    """Starts the sandbox on the folder `path`, or in memory; RuntimeError with its words where it does not start."""
    place = ["--memory"] if path is None else ["--path", str(path)]
    recording = [] if record is None else ["--record", str(record)]
    process = subprocess.Popen(
        [sys.executable, "-m", "integrations.stripe.sandbox", *place, "--port", str(port), *recording, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = _first_line(process)
    if not line.startswith("ready "):
        process.kill()
        raise RuntimeError(f"the sandbox did not start: {line}{process.communicate(timeout=30)[1]}")
    if process.stderr is not None:
        # Unread, a full pipe would stop the sandbox.
        threading.Thread(target=_drain, args=(process,), daemon=True).start()
    return SandboxProcess(process, line.removeprefix("ready ").strip(), record)


@contextmanager
def running_sandbox(path: Path | None = None, *, record: Path | None = None) -> Iterator[SandboxProcess]:
    """A sandbox for the length of a block, stopped at its end."""
    sandbox = start_sandbox(path, record=record)
    try:
        yield sandbox
    finally:
        if sandbox.process.poll() is None:
            try:
                sandbox.stop()
            except subprocess.TimeoutExpired:
                sandbox.kill()
        if sandbox.process.stdout is not None:
            sandbox.process.stdout.close()


def _drain(process: subprocess.Popen[str]) -> None:
    if process.stderr is not None:
        with process.stderr:
            for line in process.stderr:
                sys.stderr.write(line)


def _first_line(process: subprocess.Popen[str]) -> str:
    lines: Queue[str] = Queue()
    if process.stdout is None:
        return ""
    stdout = process.stdout
    threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
    try:
        return lines.get(timeout=READY_SECONDS)
    except Empty:
        return ""
