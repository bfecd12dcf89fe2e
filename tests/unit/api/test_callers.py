"""The memory of keys: short, bounded by the key's own end, and never of a key that was refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.callers import REMEMBERED_FOR, Callers
from billing.errors import NotAuthenticated
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import keys, tenants

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    ledger.migrate()
    yield ledger
    ledger.dispose()


@pytest.fixture
def scope(ledger: Ledger) -> Scope:
    with ledger.begin() as session:
        tenant = tenants.create_tenant(session, "T", NOW)
        return tenants.create_environment(session, tenant.id, "test", "test", "UTC", NOW).scope


def _key(ledger: Ledger, scope: Scope, expires_at: datetime | None = None) -> tuple[str, str]:
    with ledger.begin() as session:
        record, secret = keys.create_key(session, scope, "k", ["usage:read"], NOW, expires_at)
    return record.id, secret


def test_a_key_is_remembered_for_a_moment_only(ledger: Ledger, scope: Scope) -> None:
    callers = Callers(ledger)
    key_id, secret = _key(ledger, scope)
    assert callers.cached(secret, NOW) is None
    callers.look_up(secret, NOW)
    found = callers.cached(secret, NOW + REMEMBERED_FOR - timedelta(microseconds=1))
    assert found is not None
    assert found.id == key_id
    assert callers.cached(secret, NOW + REMEMBERED_FOR) is None


def test_a_remembered_key_still_ends_at_its_end(ledger: Ledger, scope: Scope) -> None:
    callers = Callers(ledger)
    _, secret = _key(ledger, scope, NOW + timedelta(seconds=1))
    callers.look_up(secret, NOW)
    assert callers.cached(secret, NOW + timedelta(milliseconds=999)) is not None
    assert callers.cached(secret, NOW + timedelta(seconds=1)) is None


def test_a_refused_secret_is_not_remembered(ledger: Ledger, scope: Scope) -> None:
    callers = Callers(ledger)
    key_id, secret = _key(ledger, scope)
    with ledger.begin() as session:
        keys.revoke_key(session, scope, key_id, NOW)
    for unknown in (secret, "tally_test_nobody"):
        with pytest.raises(NotAuthenticated):
            callers.look_up(unknown, NOW)
        assert callers.cached(unknown, NOW) is None
