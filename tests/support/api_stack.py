"""The whole service as real processes: embedded warehouse, Stripe sandbox, SQLite ledger, and the API over HTTP.

A conftest offers the fixtures with `from tests.support.api_stack import stack, tenant, warehouse_process`; the
warehouse is the worker's.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from cryptography.fernet import Fernet

from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import keys, tenants
from tests.support.api_process import ApiProcess, running_api
from tests.support.sandbox_process import SandboxProcess, running_sandbox
from tests.support.warehouse_process import WarehouseProcess
from warehouse_sql.client import Warehouse
from warehouse_sql.migrate import migrate

T = TypeVar("T")
_names = itertools.count(1)


@dataclass(frozen=True)
class Tenant:
    """An environment with a key, and an HTTP client that sends it."""

    scope: Scope
    key: str = field(repr=False)
    http: httpx.Client

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.http.get(f"/api/v1/{path}", **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.http.post(f"/api/v1/{path}", json=body, **options)

    def make(self, path: str, body: Any) -> dict[str, Any]:
        """POST that has to succeed; its answer."""
        answer = self.post(path, body)
        assert answer.is_success, answer.text
        made: dict[str, Any] = answer.json()
        return made


@dataclass(frozen=True)
class Stack:
    """The running service and the stores behind it."""

    url: str
    ledger: Ledger
    environment: dict[str, str]
    sandbox: SandboxProcess
    clients: list[httpx.Client] = field(default_factory=list)

    def tenant(self, *, scopes: Collection[str] = keys.ALL_SCOPES) -> Tenant:
        """A new tenant with a test environment and one key."""
        return self.with_key(new_scope(self.ledger), scopes)

    def with_key(self, scope: Scope, scopes: Collection[str]) -> Tenant:
        """A further key of an environment."""
        secret = new_key(self.ledger, scope, scopes)
        client = httpx.Client(base_url=self.url, headers={"X-API-Key": secret}, trust_env=False, timeout=30)
        self.clients.append(client)
        return Tenant(scope, secret, client)


@pytest.fixture(scope="session")
def warehouse_process(warehouse_server: WarehouseProcess) -> WarehouseProcess:
    with closing(Warehouse(warehouse_server.url, warehouse_server.user, warehouse_server.password)) as client:
        migrate(client)
    return warehouse_server


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, warehouse_process: WarehouseProcess) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("api")
    ledger = Ledger(f"sqlite:///{home / 'ledger.sqlite3'}")
    ledger.migrate()
    with running_sandbox() as sandbox:
        environment = settings_of(home, warehouse_process, sandbox.url)
        with running_api(environment, home / "api.log") as api:
            stack = Stack(api.url, ledger, environment, sandbox)
            yield stack
            for client in stack.clients:
                client.close()
    ledger.dispose()
    assert_log_is_clean(api)


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    """A tenant of this test alone, with every scope."""
    return stack.tenant()


def new_scope(ledger: Ledger) -> Scope:
    """The test environment of a new tenant."""
    now = datetime.now(UTC)
    with ledger.begin() as session:
        tenant = tenants.create_tenant(session, f"tenant {next(_names)}", now)
        return tenants.create_environment(session, tenant.id, "test", "test", "UTC", now).scope


def new_key(ledger: Ledger, scope: Scope, scopes: Collection[str] = keys.ALL_SCOPES) -> str:
    """The secret of a further key of an environment."""
    with ledger.begin() as session:
        return keys.create_key(session, scope, "test", sorted(scopes), datetime.now(UTC))[1]


def settings_of(home: Path, warehouse: WarehouseProcess, stripe: str) -> dict[str, str]:
    """The API's environment."""
    return {
        "TALLY_HOME": str(home),
        "TALLY_LEDGER_URL": f"sqlite:///{home / 'ledger.sqlite3'}",
        "TALLY_WAREHOUSE_URL": warehouse.url,
        "TALLY_WAREHOUSE_USER": warehouse.user,
        "TALLY_WAREHOUSE_PASSWORD": warehouse.password,
        "TALLY_WAREHOUSE_DATABASE": "tallyhouse",
        "TALLY_STRIPE_API_BASE": stripe,
        "TALLY_ENCRYPTION_KEYS": f"test:{Fernet.generate_key().decode()}",
    }


def eventually(ask: Callable[[], T | None], seconds: float = 20) -> T:
    """What `ask` returns once it is not None (or False); fails when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        found = ask()
        if found:
            return found
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def assert_log_is_clean(api: ApiProcess) -> None:
    """No traceback and no secret in what the API logged during the whole session."""
    log = api.log.read_text()
    assert "Traceback" not in log
    for secret in ("sk_test_", "whsec_", "tally_test_"):
        assert secret not in log
