"""The fixtures of the API's tests."""

from pathlib import Path

import pytest

from tests.support.api_stack import stack, tenant, warehouse_process

__all__ = ["pytest_collection_modifyitems", "stack", "tenant", "warehouse_process"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that run side by side share one stack: starting four processes takes longer than any of the tests."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("api"))
