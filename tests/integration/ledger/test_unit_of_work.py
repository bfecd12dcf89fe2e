"""Transactions: all or nothing, writers wait for each other, readers wait for nobody, failures say what to do."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from billing.errors import Unavailable
from ledger.db import Ledger
from ledger.store import customers, tenants
from tests.support.at_once import in_threads
from tests.support.ledger_rows import NOW, a_customer, a_scope


def test_a_block_that_raises_leaves_nothing_behind(ledger: Ledger) -> None:
    def fail_halfway(session: Session) -> None:
        tenants.create_tenant(session, "Acme", NOW)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        ledger.run(fail_halfway)
    with ledger.read() as session:
        assert tenants.find_tenant(session, "Acme") is None


def test_writers_at_once_wait_for_each_other_and_none_fails(ledger: Ledger) -> None:
    def add(number: int) -> None:
        with ledger.begin() as session:
            # Reads first, then writes: what a deferred SQLite transaction cannot do beside another writer.
            assert tenants.find_tenant(session, f"Tenant {number}") is None
            tenants.create_tenant(session, f"Tenant {number}", NOW)

    in_threads([lambda number=number: add(number) for number in range(8)])  # type: ignore[misc]
    with ledger.read() as session:
        assert all(tenants.find_tenant(session, f"Tenant {number}") for number in range(8))


def test_a_reader_does_not_wait_for_a_writer_and_keeps_its_snapshot(ledger: Ledger) -> None:
    with ledger.read() as reading:
        assert tenants.find_tenant(reading, "Acme") is None
        with ledger.begin() as writing:
            tenants.create_tenant(writing, "Acme", NOW)
            assert tenants.find_tenant(reading, "Acme") is None
        assert tenants.find_tenant(reading, "Acme") is None
    with ledger.read() as reading:
        assert tenants.find_tenant(reading, "Acme") is not None


def test_a_reading_transaction_cannot_write(ledger: Ledger) -> None:
    with pytest.raises(DBAPIError), ledger.read() as session:
        tenants.create_tenant(session, "Acme", NOW)
    with ledger.begin() as session:
        tenants.create_tenant(session, "Acme", NOW)


def test_a_ledger_that_was_filled_in_one_go_is_planned_by_its_new_size(ledger: Ledger) -> None:
    """Or each row that follows is checked by reading all rows of the environment, while the tables count as empty."""
    with ledger.begin() as session:
        scope = a_scope(session)
        for number in range(300):
            a_customer(session, scope, f"customer_{number}")
    ledger.refresh_statistics()
    with ledger.read() as session:
        if session.get_bind().dialect.name == "postgresql":
            assert session.scalar(text("SELECT reltuples FROM pg_class WHERE relname = 'customers'")) == 300
        assert customers.get_customer(session, scope, "customer_299").external_id == "customer_299"


def test_run_starts_over_when_two_transactions_wait_for_each_other(ledger: Ledger) -> None:
    """On PostgreSQL one of the two is a deadlock's victim; on SQLite the second waits before it has read anything."""
    with ledger.begin() as session:
        first, second = (tenants.create_tenant(session, name, NOW).id for name in ("First", "Second"))
    both_hold_one = threading.Barrier(2)

    def rename(mine: str, other: str, new_name: str) -> int:
        attempts = 0

        def work(session: Session) -> None:
            nonlocal attempts
            attempts += 1
            statement = text("UPDATE tenants SET name = :name WHERE id = :id")
            session.execute(statement, {"name": f"{new_name} a", "id": mine})
            if attempts == 1 and session.get_bind().dialect.name == "postgresql":
                both_hold_one.wait(30)
            session.execute(statement, {"name": f"{new_name} b", "id": other})

        ledger.run(work)
        return attempts

    attempts = in_threads([lambda: rename(first, second, "x"), lambda: rename(second, first, "y")])
    with ledger.read() as session:
        names = set(session.execute(text("SELECT name FROM tenants")).scalars())
        dialect = session.get_bind().dialect.name
    assert names in ({"x a", "x b"}, {"y a", "y b"})
    assert sorted(attempts) == ([1, 2] if dialect == "postgresql" else [1, 1])


def test_run_does_not_repeat_an_error_of_the_work_itself(ledger: Ledger) -> None:
    attempts = 0

    def work(session: Session) -> None:
        nonlocal attempts
        attempts += 1
        raise Unavailable("stripe_unreachable", "…")

    with pytest.raises(Unavailable):
        ledger.run(work)
    assert attempts == 1


@pytest.mark.parametrize("url", ["postgresql+psycopg://nobody@127.0.0.1:1/none", "sqlite:////proc/no/such/ledger.db"])
def test_a_database_that_does_not_answer_is_unavailable_with_a_time_to_retry(url: str) -> None:
    with pytest.raises(Unavailable) as caught, Ledger(url).begin() as session:
        session.execute(text("SELECT 1"))
    assert caught.value.code == "ledger_unreachable"
    assert caught.value.retry_after_seconds


@pytest.mark.parametrize(
    ("state", "code"), [("40001", "ledger_busy"), ("57014", "ledger_unreachable"), ("53300", "ledger_unreachable")]
)
def test_what_postgresql_cannot_do_just_now_is_unavailable(postgres_ledger: str, state: str, code: str) -> None:
    ledger = Ledger(postgres_ledger)
    raised = text(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$")
    with pytest.raises(Unavailable) as caught, ledger.begin() as session:
        session.execute(raised)
    ledger.dispose()
    assert caught.value.code == code


def test_sqlite_syncs_every_commit_and_enforces_references(sqlite_template: Path) -> None:
    ledger = Ledger(f"sqlite:///{sqlite_template}")
    with ledger.read() as session:
        settings = [session.execute(text(f"PRAGMA {name}")).scalar() for name in ("synchronous", "foreign_keys")]
        assert settings == [2, 1]
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert session.execute(text("PRAGMA busy_timeout")).scalar() == 30_000
    ledger.dispose()
