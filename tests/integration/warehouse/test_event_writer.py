"""What the write says where the warehouse takes no events at all: not the rows' fault, so they may wait for it."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime

import pytest

from billing.errors import Unavailable
from billing.scope import Scope
from ingestion.event import Event
from ingestion.writer import EventWriter
from tests.support.warehouse_process import WarehouseProcess
from warehouse_sql.client import Warehouse
from warehouse_sql.errors import WarehouseError

SCOPE = Scope("tenant_a", "env_a")
EVENT = Event("api.request", "acme", "a", datetime(2026, 1, 5, tzinfo=UTC))


def test_E5_a_warehouse_without_its_tables_or_with_another_password_is_not_ready(
    empty_warehouse: Warehouse, warehouse: Warehouse, warehouse_server: WarehouseProcess
) -> None:
    locked = Warehouse(warehouse_server.url, warehouse_server.user, "another", warehouse.database)
    for unready in (empty_warehouse.at("never_made"), locked):
        with closing(unready), pytest.raises(Unavailable) as refused:
            EventWriter(unready).write(SCOPE, [EVENT])
        assert refused.value.code == "warehouse_not_ready"


def test_rows_that_cannot_be_read_are_refused_for_good(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError):
        EventWriter(warehouse).insert(b'{"timestamp": "no time"}\n')
