"""A real embedded warehouse for the tests of this folder."""

from __future__ import annotations

from tests.support.warehouse_fixtures import empty_warehouse, warehouse

__all__ = ["empty_warehouse", "warehouse"]
