"""A warehouse and an API of a test's own that may be killed, stopped and starved: each comes back on its port, over
what it has left on its disk.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from ledger.db import Ledger
from pipelines.steps.reconcile_events import reconcile_events
from tests.support.api_process import ApiProcess, start_api
from tests.support.api_stack import Tenant, new_key, new_scope, settings_of
from tests.support.event_sender import EventSender
from tests.support.waiting import wait_until
from tests.support.warehouse_fixtures import plain_client
from tests.support.warehouse_process import WarehouseProcess, start_warehouse
from warehouse_sql.client import Warehouse
from warehouse_sql.migrate import migrate

WINDOW = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-03-01T00:00:00Z"}
_METERS: tuple[dict[str, Any], ...] = (
    {"id": "meter_requests", "aggregation": {"type": "count"}},
    {"id": "meter_tokens", "aggregation": {"type": "sum", "property": "tokens"}},
)
_IDENTITIES = (
    "SELECT identity FROM tallyhouse.events FINAL "
    "WHERE tenant_id = {tenant_id:String} AND environment_id = {environment_id:String}"
)


@dataclass
class Rig:
    """The two processes, the ledger that tells the API whose a key is, and what the API has logged."""

    home: Path
    ledger: Ledger
    environment: dict[str, str]
    warehouse: WarehouseProcess
    api: ApiProcess
    clients: ExitStack

    def tenant(self) -> Tenant:
        """A new tenant with a meter that counts requests and one that sums their tokens."""
        scope = new_scope(self.ledger)
        key = new_key(self.ledger, scope)
        http = httpx.Client(base_url=self.api.url, headers={"X-API-Key": key}, trust_env=False, timeout=60)
        tenant = Tenant(scope, key, self.clients.enter_context(http))
        for meter in _METERS:
            tenant.make("meters", {"name": meter["id"], "event_name": "llm.request", **meter})
        return tenant

    def stop(self) -> None:
        """Ends the processes that run by now."""
        self.api.stop()
        self.warehouse.stop()

    def bring_back_warehouse(self) -> None:
        """Starts it again after it was killed."""
        dead = self.warehouse
        self.warehouse = start_warehouse(dead.path, user=dead.user, password=dead.password, port=_port(dead.url))

    def bring_back_api(self) -> None:
        """Starts it again after it was killed, whether or not there is a warehouse."""
        self.api = start_api(self.environment, self.api.log, _port(self.api.url), until="/healthz")

    @contextmanager
    def stopped_warehouse(self) -> Iterator[None]:
        """The warehouse hangs for the length of a block, its connections open."""
        os.kill(self.warehouse.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.warehouse.pid, signal.SIGCONT)

    def wait_until_drained(self) -> None:
        """Returns once no journal of this home holds anything."""
        wait_until(lambda: not any(self.home.glob("journal/*/*.segment")), 60)

    def reconcile(self) -> None:
        """The step that runs every few minutes, and before each invoice."""
        with closing(Warehouse(self.warehouse.url, self.warehouse.user, self.warehouse.password)) as client:
            start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
            reconcile_events(self.ledger, client, start, end, datetime.now(UTC))

    def stored(self, tenant: Tenant) -> list[str]:
        """The identities in the raw table, as often as they are in it after its parts are merged."""
        scope = {"tenant_id": tenant.scope.tenant_id, "environment_id": tenant.scope.environment_id}
        with plain_client(self.warehouse) as client:
            return sorted(row[0] for row in client.query(_IDENTITIES, parameters=scope).result_rows)

    def usage(self, tenant: Tenant) -> dict[str, tuple[int, Decimal]]:
        """Per customer what the API answers: the number of events and the sum of their tokens."""
        counts, sums = (
            {
                row["customer_id"]: row["value"]
                for row in tenant.make("events/usage/meter", {"meter_id": meter["id"], **WINDOW})["data"]
            }
            for meter in _METERS
        )
        return {customer: (int(count), Decimal(sums[customer])) for customer, count in counts.items()}

    def assert_each_counts_once(self, tenant: Tenant, sender: EventSender) -> None:
        """All that was sent is acknowledged by now: it is in usage and in the raw table once, and nothing else is."""
        self.wait_until_drained()
        expected = sender.customers
        assert self.usage(tenant) == expected
        self.reconcile()
        assert self.usage(tenant) == expected
        assert self.stored(tenant) == sorted(sender.acknowledged)
        assert list(self.home.glob("journal/refused-*")) == []

    def assert_log_is_clean(self) -> None:
        """Nothing broke: no traceback and no 500."""
        log = self.api.log.read_text()
        assert "Traceback" not in log
        assert " 500 " not in log


@contextmanager
def running_rig(home: Path, warehouse_path: Path | None = None, **settings: str) -> Iterator[Rig]:
    """A rig for the length of a block. The ledger lies beside `home`, which holds the journals alone."""
    with ExitStack() as stack:
        ledger_url = f"sqlite:///{home.parent / f'{home.name}.sqlite3'}"
        ledger = Ledger(ledger_url)
        stack.callback(ledger.dispose)
        ledger.migrate()
        home.mkdir(exist_ok=True)
        port = stack.enter_context(_held_port())
        warehouse = start_warehouse(warehouse_path or home.parent / f"{home.name}-warehouse", port=port)
        environment = settings_of(home, warehouse, "http://127.0.0.1:9") | {"TALLY_LEDGER_URL": ledger_url} | settings
        with ExitStack() as until_all_is_up:
            until_all_is_up.callback(warehouse.stop)
            with closing(Warehouse(warehouse.url, warehouse.user, warehouse.password)) as client:
                migrate(client)
            api = start_api(environment, home.parent / f"{home.name}.log", stack.enter_context(_held_port()))
            until_all_is_up.pop_all()
        rig = Rig(home, ledger, environment, warehouse, api, stack.enter_context(ExitStack()))
        stack.callback(rig.stop)
        yield rig


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


@contextmanager
def _held_port() -> Iterator[int]:
    """A port that nobody else is given while its owner is dead. What never listens is in no listener's way."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
