"""A migrated SQLite ledger per test."""

from tests.support.sqlite_ledger import ledger, ledger_template

__all__ = ["ledger", "ledger_template"]
