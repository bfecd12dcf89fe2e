"""The embedded warehouse: the ClickHouse engine of the chDB wheel behind ClickHouse's HTTP interface.

A process of its own (`python -m warehouse_sql.embedded`), because the engine allows one process per data directory.
Nothing imports this package: everybody reaches it over HTTP, as they would reach a clickhouse-server.
"""
