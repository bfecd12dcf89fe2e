"""Tenants, environments and API keys."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from billing.errors import Conflict, InvalidInput, NotAuthenticated, NotFound
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import keys, tenants
from tests.support.ledger_rows import NOW, a_scope, later


def code_of(ledger: Ledger, secret: str, days: float = 0) -> str:
    with pytest.raises(NotAuthenticated) as caught, ledger.read() as session:
        keys.authenticate(session, secret, later(days=days))
    return caught.value.code


def test_a_tenant_and_its_environments_are_found_again(ledger: Ledger) -> None:
    with ledger.begin() as session:
        live = a_scope(session, environment="live", kind="live")
        test = a_scope(session, environment="test")
        assert tenants.list_scopes(session) == sorted([live, test])
        assert tenants.get_environment(session, live).kind == "live"
        assert {found.name for found in tenants.list_environments(session, live.tenant_id)} == {"live", "test"}


def test_names_of_tenants_and_environments_are_taken_once(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        with pytest.raises(Conflict, match="tenant of this name"):
            tenants.create_tenant(session, "Acme Cloud", NOW)
        with pytest.raises(Conflict, match="environment of this name"):
            tenants.create_environment(session, scope.tenant_id, "production", "test", "UTC", NOW)
        with pytest.raises(NotFound, match="no such tenant"):
            tenants.create_environment(session, "tenant_none", "x", "test", "UTC", NOW)
        with pytest.raises(NotFound, match="no such environment"):
            tenants.get_environment(session, Scope(scope.tenant_id, "env_none"))


def test_a_key_authenticates_as_its_environment_with_its_scopes(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session, kind="live")
        made, secret = keys.create_key(session, scope, "ci", {"events:write"}, NOW)
    with ledger.read() as session:
        found = keys.authenticate(session, secret, NOW)
    assert found == made
    assert (found.scope, found.scopes) == (scope, frozenset({"events:write"}))
    assert secret.startswith("tally_live_")
    assert len(secret) >= len("tally_live_") + 43
    assert found.last4 == secret[-4:]


def test_S4_the_database_holds_nothing_that_opens_an_account(ledger: Ledger) -> None:
    with ledger.begin() as session:
        _, secret = keys.create_key(session, a_scope(session), "ci", {"events:write"}, NOW)
        row = session.execute(text("SELECT * FROM api_keys")).one()
    assert secret not in str(row)
    assert code_of(ledger, row.secret_sha256) == "api_key_unknown"


def test_an_unknown_scope_is_refused(ledger: Ledger) -> None:
    with ledger.begin() as session, pytest.raises(InvalidInput, match="unknown scope 'events:delete'"):
        keys.create_key(session, a_scope(session), "ci", {"events:write", "events:delete"}, NOW)


def test_a_revoked_key_ends_at_once_and_keeps_the_time_of_it(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made, secret = keys.create_key(session, scope, "ci", {"events:write"}, NOW)
        assert keys.revoke_key(session, scope, made.id, later(days=1)).revoked_at == later(days=1)
        assert keys.revoke_key(session, scope, made.id, later(days=2)).revoked_at == later(days=1)
    assert code_of(ledger, secret) == "api_key_revoked"


def test_a_rotated_key_works_beside_its_successor_until_the_overlap_ends(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        old, old_secret = keys.create_key(session, scope, "ci", {"events:write"}, NOW)
        new, new_secret = keys.rotate_key(session, scope, old.id, timedelta(days=7), NOW)
        assert keys.authenticate(session, old_secret, later(days=6)).id == old.id
        assert keys.authenticate(session, new_secret, later(days=8)).id == new.id
        assert (new.name, new.scopes) == (old.name, old.scopes)
        assert {key.id for key in keys.list_keys(session, scope)} == {old.id, new.id}
    assert code_of(ledger, old_secret, days=7) == "api_key_expired"


def test_rotation_never_prolongs_a_key(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        old, _ = keys.create_key(session, scope, "ci", {"events:write"}, NOW, expires_at=later(days=1))
        keys.rotate_key(session, scope, old.id, timedelta(days=7), NOW)
        ends = {key.id: key.expires_at for key in keys.list_keys(session, scope)}
        assert ends[old.id] == later(days=1)
        keys.revoke_key(session, scope, old.id, NOW)
        with pytest.raises(NotFound, match="revoked"):
            keys.rotate_key(session, scope, old.id, timedelta(days=7), NOW)
