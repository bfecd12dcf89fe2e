"""A stack of its own for a measurement: warehouse and API as real processes, on free ports, in a temporary folder."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from cryptography.fernet import Fernet

from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import keys, tenants
from warehouse_sql.client import Warehouse
from warehouse_sql.migrate import migrate

# On a machine that others use as well an API may take a minute to import what it needs.
_START_SECONDS = 300.0


@dataclass(frozen=True)
class Usage:
    """What a process has used so far: seconds of CPU, and the most memory that it ever held, in MB."""

    cpu_seconds: float
    peak_mb: float


def usage_of(process: int) -> Usage:
    """Read from /proc; Linux only, zeros elsewhere."""
    try:
        ticks = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
        peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return Usage(0.0, 0.0)
    seconds = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    return Usage(seconds, int(peak[1]) / 1024 if peak else 0.0)


def forget_peak(process: int) -> None:
    """From now on the process's `peak_mb` is counted anew."""
    with suppress(OSError):
        Path(f"/proc/{process}/clear_refs").write_text("5")


@dataclass(frozen=True)
class Server:
    """A process of the stack and where it answers."""

    process: subprocess.Popen[bytes]
    url: str

    def usage(self) -> Usage:
        """What the process has used."""
        return usage_of(self.process.pid)

    def forget_peak(self) -> None:
        """From now on `peak_mb` is counted anew."""
        forget_peak(self.process.pid)

    def stop(self) -> None:
        """Ends it cleanly, or at last with force."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(30)


@dataclass(frozen=True)
class Scratch:
    """A running stack with one tenant. `key` may do everything; `statements` are the warehouse's for `bench/sql`."""

    home: Path
    warehouse_server: Server
    api: Server
    warehouse: Warehouse
    statements: Warehouse
    ledger: Ledger
    scope: Scope
    key: str = field(repr=False)


@dataclass(frozen=True)
class ScratchWarehouse:
    """A running warehouse, migrated and empty; `statements` are for `bench/sql`."""

    home: Path
    server: Server
    warehouse: Warehouse
    statements: Warehouse
    password: str = field(repr=False)


@contextmanager
def scratch_warehouse() -> Iterator[ScratchWarehouse]:
    """A fresh warehouse for the length of a block. RuntimeError with the end of its log where it does not start."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="tally-bench-")))
        password = secrets.token_urlsafe(24)
        port = free_port()
        options = ["--path", str(home / "warehouse"), "--port", str(port), "--user", "bench"]
        started = _start("warehouse_sql.embedded", options, {"TALLY_WAREHOUSE_PASSWORD": password}, home)
        server = Server(started, f"http://127.0.0.1:{port}")
        stack.callback(server.stop)
        _await(server, "/ping", home)
        warehouse = Warehouse(server.url, "bench", password, read_timeout_seconds=3600)
        stack.callback(warehouse.close)
        migrate(warehouse)
        statements = Warehouse(server.url, "bench", password, read_timeout_seconds=3600, package="bench")
        stack.callback(statements.close)
        yield ScratchWarehouse(home, server, warehouse, statements, password)


@contextmanager
def scratch() -> Iterator[Scratch]:
    """A fresh stack for the length of a block. RuntimeError with the end of its log where a process does not start."""
    with ExitStack() as stack:
        storage = stack.enter_context(scratch_warehouse())
        home, warehouse = storage.home, storage.warehouse
        ledger = Ledger(f"sqlite:///{home / 'ledger.sqlite3'}")
        stack.callback(ledger.dispose)
        ledger.migrate()
        scope, key = _tenant(ledger)
        api_port = free_port()
        environment = {
            "TALLY_HOME": str(home),
            "TALLY_LEDGER_URL": f"sqlite:///{home / 'ledger.sqlite3'}",
            "TALLY_WAREHOUSE_URL": storage.server.url,
            "TALLY_WAREHOUSE_USER": "bench",
            "TALLY_WAREHOUSE_PASSWORD": storage.password,
            "TALLY_WAREHOUSE_DATABASE": warehouse.database,
            "TALLY_ENCRYPTION_KEYS": f"bench:{Fernet.generate_key().decode()}",
        }
        api = Server(_start("api", ["--port", str(api_port)], environment, home), f"http://127.0.0.1:{api_port}")
        stack.callback(api.stop)
        _await(api, "/readyz", home)
        yield Scratch(home, storage.server, api, warehouse, storage.statements, ledger, scope, key)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _tenant(ledger: Ledger) -> tuple[Scope, str]:
    now = datetime.now(UTC)
    with ledger.begin() as session:
        tenant = tenants.create_tenant(session, "bench", now)
        scope = tenants.create_environment(session, tenant.id, "bench", "test", "UTC", now).scope
        _, key = keys.create_key(session, scope, "bench", sorted(keys.ALL_SCOPES), now)
    return scope, key


def _start(module: str, options: Sequence[str], environment: dict[str, str], home: Path) -> subprocess.Popen[bytes]:
    with (home / f"{module}.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603 -- our own modules, with our own options
            [sys.executable, "-m", module, *options], env={**os.environ, **environment}, stdout=log, stderr=log
        )


def _await(server: Server, path: str, home: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            if httpx.get(server.url + path, trust_env=False, timeout=10).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.05)
    told = "\n".join(log.read_text(errors="replace")[-2000:] for log in sorted(home.glob("*.log")))
    raise RuntimeError(f"{server.url} does not answer:\n{told}")
