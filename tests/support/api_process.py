"""Starts the real API (granian) as a process of its own, for tests that talk to it over HTTP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

READY_SECONDS = 60.0


@dataclass
class ApiProcess:
    """A running API: where it is, what it logs, and how to end it."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def stop(self) -> int:
        """A clean stop; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        """kill -9 of the server and its worker, as the worst moment would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=30)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_api(environment: Mapping[str, str], log: Path, port: int | None = None, until: str = "/readyz") -> ApiProcess:
    """Starts the API and returns once `until` answers 200; RuntimeError with the end of its log if it never does."""
    port = port or free_port()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "api", "--port", str(port)],
            env={**os.environ, **environment, "TALLY_PUBLIC_URL": f"http://127.0.0.1:{port}"},
            cwd=Path(__file__).parents[2],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    api = ApiProcess(process, f"http://127.0.0.1:{port}", log)
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{api.url}{until}", trust_env=False, timeout=2).status_code == 200:
                return api
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    if process.poll() is None:
        api.kill()
    raise RuntimeError(f"the API did not start:\n{log.read_text()[-3000:]}")


@contextmanager
def running_api(environment: Mapping[str, str], log: Path) -> Iterator[ApiProcess]:
    """An API for the length of a block, stopped at its end."""
    api = start_api(environment, log)
    try:
        yield api
    finally:
        if api.process.poll() is None:
            try:
                api.stop()
            except subprocess.TimeoutExpired:
                api.kill()
