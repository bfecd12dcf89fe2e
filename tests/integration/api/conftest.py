"""The fixtures of the API's tests."""

from tests.support.api_stack import stack, tenant, warehouse_process

__all__ = ["stack", "tenant", "warehouse_process"]
