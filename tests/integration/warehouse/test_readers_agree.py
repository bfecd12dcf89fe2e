"""What the quick reader and the one that looks at each event write is the same once the engine has read it."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from billing.scope import Scope
from ingestion.decode import read_each
from ingestion.event import Limits
from ingestion.flawless import read_flawless
from ingestion.media import Form
from ingestion.rows import rows_of
from ingestion.wire import latest_taken
from ingestion.writer import EventWriter
from tests.support.odd_batches import NOW, bodies
from tests.support.warehouse_fixtures import plain_client
from tests.support.warehouse_process import WarehouseProcess
from warehouse_sql.client import Warehouse

_STORED = (
    "SELECT event_name, customer_id, identity, event_id, idempotency_key, toString(timestamp), timed, properties, "
    "content_hash FROM {database:Identifier}.events WHERE tenant_id = {tenant_id:String}"
)


def test_E6_rows_of_both_readers_are_stored_alike(warehouse: Warehouse, warehouse_server: WarehouseProcess) -> None:
    quick: list[bytes] = []
    slow: list[bytes] = []
    latest = latest_taken(Limits(), NOW)

    @settings(
        max_examples=300,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(sent=bodies() | bodies(odd=False))
    def read(sent: tuple[Form, bytes]) -> None:
        form, body = sent
        taken = read_flawless(body, form, Limits(), NOW, latest)
        if taken is not None:
            each = read_each(body, form, Limits(), NOW, latest)
            # Ids that were made are new ones each time.
            named = [index for index in range(len(taken.rows)) if index not in taken.made]
            quick.extend(taken.rows[index] for index in named)
            slow.extend(each.rows[index] for index in named)

    read()
    assert len(quick) > 100
    writer = EventWriter(warehouse)
    stored = []
    with plain_client(warehouse_server) as client:
        for name, rows in (("quick", quick), ("slow", slow)):
            writer.insert(rows_of(Scope(name, "env_a"), "api", rows))
            found = client.query(_STORED, parameters={"tenant_id": name, "database": warehouse.database}).result_rows
            # Equal rows may be merged by now or not.
            stored.append({repr(row) for row in found})
    assert stored[0] == stored[1]
    assert len(stored[0]) > 50
