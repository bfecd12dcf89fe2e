"""Migrations: applied once, in order, never edited, safe to repeat. Golden files show every table as the engine has it.

After a new migration: `TALLY_UPDATE_GOLDEN=1 pytest tests/integration/warehouse/test_migrate.py`, and read the diff.
"""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.support.warehouse_fixtures import plain_client
from tests.support.warehouse_process import WarehouseProcess
from warehouse_sql.client import Warehouse
from warehouse_sql.errors import MigrationRefused
from warehouse_sql.load import sql
from warehouse_sql.migrate import applied_migrations, migrate, pending, read_migrations

GOLDEN = Path(__file__).parents[2] / "golden" / "warehouse"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A folder with two migrations of this test's own."""
    (tmp_path / "0001_first.sql").write_text(
        "-- why; and how\nCREATE TABLE IF NOT EXISTS a (s String DEFAULT 'x;y') ENGINE = Memory;\n"
        "CREATE TABLE IF NOT EXISTS b (n UInt8) ENGINE = Memory;\n"
    )
    (tmp_path / "0002_second.sql").write_text("ALTER TABLE a ADD COLUMN IF NOT EXISTS m UInt8\n")
    return tmp_path


def tables(server: WarehouseProcess, database: str) -> dict[str, str]:
    """Every table of a database with its SHOW CREATE TABLE, the name of the database left out."""
    with plain_client(server) as client:
        names = client.query(
            "SELECT name FROM system.tables WHERE database = {db:String} AND NOT startsWith(name, '.inner')",
            parameters={"db": database},
        ).result_columns
        return {
            name: client.query(
                "SHOW CREATE TABLE {db:Identifier}.{name:Identifier}", parameters={"db": database, "name": name}
            )
            .result_rows[0][0]
            .replace(f"{database}.", "")
            + "\n"
            for name in (names[0] if names else [])
        }


def test_all_migrations_apply_once_and_a_second_run_applies_nothing(empty_warehouse: Warehouse) -> None:
    files = [file.name for file in read_migrations("single")]
    assert files
    assert [item.name for item in pending(empty_warehouse)] == files
    assert [item.name for item in migrate(empty_warehouse)] == files
    assert migrate(empty_warehouse) == []
    assert pending(empty_warehouse) == []
    assert [item.name for item in applied_migrations(empty_warehouse)] == files
    assert all(item.applied_at is not None and item.applied_at.tzinfo for item in applied_migrations(empty_warehouse))


def test_every_table_is_as_its_golden_file_says(warehouse: Warehouse, warehouse_server: WarehouseProcess) -> None:
    found = tables(warehouse_server, warehouse.database)
    if os.environ.get("TALLY_UPDATE_GOLDEN"):
        GOLDEN.mkdir(parents=True, exist_ok=True)
        for stale in GOLDEN.glob("*.sql"):
            stale.unlink()
        for name, definition in found.items():
            (GOLDEN / f"{name}.sql").write_text(definition)
    golden = {file.stem: file.read_text() for file in GOLDEN.glob("*.sql")}
    assert found == golden, "run with TALLY_UPDATE_GOLDEN=1 and read the diff"


def test_every_migration_is_repeatable(warehouse: Warehouse, warehouse_server: WarehouseProcess) -> None:
    before = tables(warehouse_server, warehouse.database)
    for file in read_migrations("single"):
        for index, statement in enumerate(file.statements):
            warehouse.statement(statement, f"again/{file.name}:{index}")
    assert tables(warehouse_server, warehouse.database) == before


def test_every_migration_has_a_cluster_form_that_the_engine_parses(warehouse_server: WarehouseProcess) -> None:
    cluster = read_migrations("cluster")
    assert [file.name for file in cluster] == [file.name for file in read_migrations("single")]
    statements = [statement for file in cluster for statement in file.statements]
    statements += [sql("setup/schema_migrations_on_cluster"), sql("setup/database_on_cluster")]
    with plain_client(warehouse_server) as client:
        for statement in statements:
            tree = client.raw_query(f"EXPLAIN AST {statement}", parameters={"database": "tallyhouse"}).decode()
            assert re.match(r"(Create|Alter|Drop)\w*Query ", tree), tree
            assert "ON CLUSTER '{cluster}'" in statement
        with pytest.raises(DatabaseError, match="Syntax error"):
            client.raw_query("EXPLAIN AST CREATE TABLE t ON CLUSTER '{cluster}' (n UInt8) ENGINE MergeTree ORDER")


def test_a_dry_run_names_the_statements_and_changes_nothing(
    empty_warehouse: Warehouse, warehouse_server: WarehouseProcess, directory: Path
) -> None:
    first, second = pending(empty_warehouse, directory=directory)
    assert (first.number, first.name, len(first.statements)) == (1, "0001_first", 2)
    assert second.statements == ("ALTER TABLE a ADD COLUMN IF NOT EXISTS m UInt8",)
    assert tables(warehouse_server, empty_warehouse.database) == {}


def test_a_new_file_is_applied_alone(empty_warehouse: Warehouse, directory: Path) -> None:
    migrate(empty_warehouse, directory=directory)
    (directory / "0003_third.sql").write_text("CREATE TABLE IF NOT EXISTS c (n UInt8) ENGINE = Memory")
    assert [item.name for item in migrate(empty_warehouse, directory=directory)] == ["0003_third"]


def test_an_edited_applied_file_is_refused(empty_warehouse: Warehouse, directory: Path) -> None:
    migrate(empty_warehouse, directory=directory)
    with (directory / "0001_first.sql").open("a") as file:
        file.write("-- a later thought\n")
    with pytest.raises(MigrationRefused, match="0001_first") as refused:
        migrate(empty_warehouse, directory=directory)
    assert refused.value.code == "migration_edited"
    assert "new migration" in str(refused.value.hint)


def test_a_file_below_the_last_applied_number_is_refused(empty_warehouse: Warehouse, directory: Path) -> None:
    (directory / "0001_first.sql").rename(directory / "0003_late.sql")
    (directory / "0002_second.sql").rename(directory / "0004_later.sql")
    (directory / "0003_late.sql").rename(directory / "0002_first.sql")
    migrate(empty_warehouse, directory=directory)
    (directory / "0001_forgotten.sql").write_text("SELECT 1")
    with pytest.raises(MigrationRefused, match="0001_forgotten") as refused:
        migrate(empty_warehouse, directory=directory)
    assert refused.value.code == "migration_out_of_order"


def test_a_database_of_a_newer_program_is_refused(empty_warehouse: Warehouse, directory: Path) -> None:
    migrate(empty_warehouse, directory=directory)
    (directory / "0002_second.sql").unlink()
    with pytest.raises(MigrationRefused, match="0002_second") as refused:
        pending(empty_warehouse, directory=directory)
    assert refused.value.code == "migration_unknown"


def test_a_migration_that_fails_in_the_middle_runs_again_from_its_start(
    empty_warehouse: Warehouse, directory: Path
) -> None:
    broken = directory / "0003_third.sql"
    broken.write_text("CREATE TABLE IF NOT EXISTS c (n UInt8) ENGINE = Memory; SELECT no_such_column")
    with pytest.raises(Exception, match="no_such_column"):
        migrate(empty_warehouse, directory=directory)
    assert [item.name for item in applied_migrations(empty_warehouse)] == ["0001_first", "0002_second"]
    broken.write_text("CREATE TABLE IF NOT EXISTS c (n UInt8) ENGINE = Memory")
    assert [item.name for item in migrate(empty_warehouse, directory=directory)] == ["0003_third"]


def test_two_processes_that_migrate_at_once_end_in_one_schema(
    empty_warehouse: Warehouse, warehouse_server: WarehouseProcess
) -> None:
    with closing(empty_warehouse.at(empty_warehouse.database)) as other, ThreadPoolExecutor(2) as pool:
        list(pool.map(migrate, [empty_warehouse, other]))
    files = [file.name for file in read_migrations("single")]
    assert [item.name for item in applied_migrations(empty_warehouse)] == files
    assert set(tables(warehouse_server, empty_warehouse.database)) == {file.stem for file in GOLDEN.glob("*.sql")}


@pytest.mark.parametrize("database", ["a b", "a`; DROP DATABASE b", "", "1a", "a" * 65])
def test_a_database_name_that_is_no_plain_name_is_refused(empty_warehouse: Warehouse, database: str) -> None:
    with closing(empty_warehouse.at(database)) as client, pytest.raises(MigrationRefused) as refused:
        migrate(client)
    assert refused.value.code == "database_name"


def test_a_cluster_that_the_server_does_not_name_is_refused_before_anything_is_made(
    empty_warehouse: Warehouse, warehouse_server: WarehouseProcess
) -> None:
    with pytest.raises(MigrationRefused) as refused:
        migrate(empty_warehouse, cluster="billing")
    assert refused.value.code == "cluster_macro"
    assert tables(warehouse_server, empty_warehouse.database) == {}
