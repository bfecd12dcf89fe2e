"""A real warehouse, one database for the whole folder; every test has tenants of its own in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest

from billing.scope import Scope
from tests.support.warehouse_fixtures import empty_warehouse, warehouse
from tests.support.warehouse_process import WarehouseProcess
from warehouse_sql.client import Warehouse
from warehouse_sql.migrate import migrate

__all__ = ["empty_warehouse", "warehouse"]


@pytest.fixture(scope="session")
def metering(warehouse_server: WarehouseProcess) -> Iterator[Warehouse]:
    with closing(
        Warehouse(warehouse_server.url, warehouse_server.user, warehouse_server.password, "metering")
    ) as client:
        migrate(client)
        yield client


@pytest.fixture
def scope() -> Scope:
    return new_scope()


def new_scope() -> Scope:
    """A tenant that nobody has used before."""
    return Scope(f"tenant_{uuid.uuid4().hex}", "env_test")
