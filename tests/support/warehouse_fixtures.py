"""Fixtures for tests that need a warehouse. A conftest offers them with
`from tests.support.warehouse_fixtures import empty_warehouse, warehouse`; all tests of a worker share the server.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.httputil import get_pool_manager

from tests.support.warehouse_process import WarehouseProcess, running_warehouse
from warehouse_sql.client import Warehouse
from warehouse_sql.migrate import migrate


@contextmanager
def plain_client(server: WarehouseProcess, **options: Any) -> Iterator[Client]:
    """clickhouse-connect as anybody would use it, with its connections closed at the end."""
    pool = get_pool_manager()
    client = clickhouse_connect.get_client(
        dsn=server.url, username=server.user, password=server.password, pool_mgr=pool, **options
    )
    try:
        yield client
    finally:
        pool.clear()


@pytest.fixture(scope="session")
def warehouse_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarehouseProcess]:
    """One embedded warehouse process for the whole session: `url`, `user`, `password`."""
    with running_warehouse(tmp_path_factory.mktemp("warehouse")) as server:
        yield server


@pytest.fixture
def empty_warehouse(warehouse_server: WarehouseProcess) -> Iterator[Warehouse]:
    """A client for a database of this test alone, which does not exist yet."""
    database = f"test_{uuid.uuid4().hex}"
    with closing(Warehouse(warehouse_server.url, warehouse_server.user, warehouse_server.password, database)) as client:
        yield client
    with plain_client(warehouse_server) as admin:
        admin.command("DROP DATABASE IF EXISTS {name:Identifier} SYNC", parameters={"name": database})


@pytest.fixture
def warehouse(empty_warehouse: Warehouse) -> Warehouse:
    """A client for a fresh, migrated database of this test alone."""
    migrate(empty_warehouse)
    return empty_warehouse
