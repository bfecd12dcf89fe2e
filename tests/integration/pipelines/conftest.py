"""A real SQLite ledger per test, one real embedded warehouse for all of them, and the pipeline on top.

A test's tenants are its own, so the tests share a warehouse without seeing each other's events.
"""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest

from ledger.db import Ledger
from tests.integration.pipelines.stage import Stage
from tests.support.sqlite_ledger import ledger
from tests.support.warehouse_process import WarehouseProcess
from warehouse_sql.client import Warehouse
from warehouse_sql.migrate import migrate

__all__ = ["ledger"]


@pytest.fixture(scope="session")
def shared_warehouse(warehouse_server: WarehouseProcess) -> Iterator[Warehouse]:
    """A migrated database."""
    server = warehouse_server
    with closing(Warehouse(server.url, server.user, server.password, "test_pipelines")) as client:
        migrate(client)
        yield client


@pytest.fixture
def stage(ledger: Ledger, shared_warehouse: Warehouse) -> Iterator[Stage]:
    """The pipeline on 2 November 2024, with an empty ledger."""
    with Stage.open(ledger, shared_warehouse, datetime(2024, 11, 2, 0, 15, tzinfo=UTC)) as opened:
        yield opened
