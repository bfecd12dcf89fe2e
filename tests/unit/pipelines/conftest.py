"""A migrated SQLite ledger per test."""

from tests.support.sqlite_ledger import ledger

__all__ = ["ledger"]
