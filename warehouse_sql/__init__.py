"""The warehouse: every ClickHouse statement of Tallyhouse and the only client for it. See README.md."""
