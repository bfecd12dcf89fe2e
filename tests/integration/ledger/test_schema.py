"""The schema: migrations and models agree, migrating is safe at any time, and no reference can leave its scope."""

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import NullPool, create_engine, inspect

from ledger.db import Ledger
from ledger.migrate import alembic_config
from ledger.models import Base
from tests.support.at_once import Workers, in_threads

REVISIONS = [f"{number:04}" for number in range(1, 30)]
# Those that say what scopes there are, and what the pipeline says of itself over all of them, and the
# pace at which an account of the provider is called, which several scopes may share.
WITHOUT_SCOPE = {
    "tenants",
    "environments",
    "pipeline_runs",
    "pipeline_run_totals",
    "pipeline_figures",
    "alerts",
    "alert_messages",
    "call_paces",
}


def test_the_migrations_make_exactly_what_the_models_declare(ledger_url: str) -> None:
    engine = create_engine(ledger_url, poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_constraints_are_in_the_database_as_declared(ledger_url: str) -> None:
    inspector = inspect(create_engine(ledger_url, poolclass=NullPool))
    for table in Base.metadata.sorted_tables:
        declared = {str(constraint.name) for constraint in table.constraints} | {
            str(index.name) for index in table.indexes
        }
        found = {
            *(check["name"] for check in inspector.get_check_constraints(table.name)),
            *(unique["name"] for unique in inspector.get_unique_constraints(table.name)),
            *(key["name"] for key in inspector.get_foreign_keys(table.name)),
            *(index["name"] for index in inspector.get_indexes(table.name)),
            inspector.get_pk_constraint(table.name)["name"],
        }
        assert declared - found == set(), table.name


def test_migrating_again_changes_nothing(empty_url: str) -> None:
    ledger = Ledger(empty_url)
    assert ledger.migrate() == REVISIONS
    assert ledger.migrate() == []


def test_several_processes_may_migrate_at_once(empty_url: str, workers: Workers) -> None:
    assert sorted(workers.all_at_once("migrate", empty_url)) == [[], REVISIONS]


def test_several_threads_may_migrate_at_once(empty_url: str) -> None:
    ledger = Ledger(empty_url)
    assert sorted(in_threads([ledger.migrate] * 4)) == [[], [], [], REVISIONS]


def test_the_migrations_can_be_taken_back(empty_url: str) -> None:
    assert Ledger(empty_url).migrate() == REVISIONS
    config = alembic_config()
    with create_engine(empty_url, poolclass=NullPool).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    assert Ledger(empty_url).migrate() == REVISIONS


@pytest.mark.parametrize("table", Base.metadata.sorted_tables, ids=lambda table: str(table.name))
def test_every_row_has_a_scope_and_every_reference_carries_it(table: object) -> None:
    found = Base.metadata.tables[str(table)]
    if found.name in WITHOUT_SCOPE:
        return
    assert [column.name for column in found.primary_key][:2] == ["tenant_id", "environment_id"]
    for key in found.foreign_key_constraints:
        assert key.column_keys[:2] == ["tenant_id", "environment_id"], key.name
    assert found.foreign_key_constraints, "nothing ties the row to an environment that exists"


def test_no_index_or_constraint_has_a_name_that_postgresql_would_cut() -> None:
    tables = Base.metadata.sorted_tables
    names = [str(item.name) for table in tables for item in table.constraints]
    names += [str(index.name) for table in tables for index in table.indexes]
    assert max(map(len, names)) <= 63
    assert len(set(names)) == len(names)
