"""Connections and mappings: sealed secrets, one active connection, one object of the provider per row."""

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from billing.errors import Conflict, NotFound
from ledger.db import Ledger
from ledger.secretbox import SecretBox, Secrets
from ledger.store import connections, mappings
from pipelines.steps.rotate_encryption import Rotated, rotate_encryption
from tests.support.at_once import in_threads
from tests.support.ledger_rows import BOX, FERNET_KEY, NOW, SECRETS, a_connection, a_scope, later


def test_a_connection_shows_the_ends_of_its_secrets_and_opens_them_with_the_key(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_connection(session, scope)
        assert connections.get_connection(session, scope, made.id) == made
        assert (made.secret_key_last4, made.webhook_secret_last4, made.key_id) == ("WXYZ", "AAAA", "k1")
        assert made.sync_config == {"invoice": {"inbound": False, "outbound": True}}
        assert connections.open_secrets(session, scope, made.id, BOX) == SECRETS


def test_S4_the_database_holds_no_secret_in_the_clear(ledger: Ledger) -> None:
    with ledger.begin() as session:
        a_connection(session, a_scope(session))
        row = str(session.execute(text("SELECT * FROM connections")).one())
    assert SECRETS.secret_key not in row
    assert not any(secret in row for secret in SECRETS.webhook_secrets)


def test_an_environment_has_one_active_connection_per_provider(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        first = a_connection(session, scope)
        with pytest.raises(Conflict, match="active connection"):
            a_connection(session, scope)
        second = a_connection(session, scope, status="disabled", now=later(days=1))
        with pytest.raises(Conflict, match="active connection"):
            connections.update_connection(session, scope, second.id, {"status": "active"})
        connections.update_connection(session, scope, first.id, {"status": "disabled"})
        found = connections.update_connection(session, scope, second.id, {"status": "active", "name": "New"})
        assert connections.active(session, scope, "stripe") == found
        assert [each.id for each in connections.list_connections(session, scope)] == [second.id, first.id]


def test_new_secrets_replace_the_old_ones(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_connection(session, scope)
        new = Secrets("sk_test_another_key_0000000000last")
        found = connections.update_connection(session, scope, made.id, {"sealed": BOX.seal(scope, new)})
        assert (found.secret_key_last4, found.webhook_secret_last4) == ("last", None)
        assert connections.open_secrets(session, scope, made.id, BOX) == new


def test_a_deleted_connection_is_gone_with_its_secrets_and_keeps_its_mappings(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_connection(session, scope)
        mapping = mappings.intend(session, scope, made.id, "customer", "cus_1", NOW)
        connections.delete_connection(session, scope, made.id, NOW)
        assert connections.active(session, scope, "stripe") is None
        assert connections.list_connections(session, scope) == []
        assert mappings.get_mapping(session, scope, made.id, "customer", "cus_1") == mapping
        assert session.execute(text("SELECT sealed_secrets FROM connections")).scalar() is None
        with pytest.raises(NotFound):
            connections.open_secrets(session, scope, made.id, BOX)
        a_connection(session, scope)


def test_S4_resealing_moves_every_secret_to_the_current_key(ledger: Ledger) -> None:
    new_key = Fernet.generate_key()
    with ledger.begin() as session:
        first, second = a_scope(session), a_scope(session, "Other")
        a_connection(session, first)
        made = a_connection(session, second)
    both, only_new = SecretBox({"k1": FERNET_KEY, "k2": new_key}, "k2"), SecretBox({"k2": new_key}, "k2")
    assert rotate_encryption(ledger, both) == Rotated(2, ())
    assert rotate_encryption(ledger, both) == Rotated(0, ())
    with ledger.read() as session:
        assert connections.open_secrets(session, second, made.id, only_new) == SECRETS
        assert connections.get_connection(session, second, made.id).key_id == "k2"


def test_S4_a_connection_that_no_key_opens_is_named_and_stops_no_other(ledger: Ledger) -> None:
    new_key, lost = Fernet.generate_key(), SecretBox({"lost": Fernet.generate_key()}, "lost")
    with ledger.begin() as session:
        first, second = a_scope(session), a_scope(session, "Other")
        broken = a_connection(session, first, sealed=lost.seal(first, SECRETS))
        a_connection(session, second)
    done = rotate_encryption(ledger, SecretBox({"k1": FERNET_KEY, "k2": new_key}, "k2"))
    assert done.resealed == 1
    assert [connection_id for connection_id, _ in done.unreadable] == [broken.id]


def test_S4_secrets_that_are_saved_while_keys_rotate_are_not_lost(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_connection(session, scope)
    both = SecretBox({"k1": FERNET_KEY, "k2": Fernet.generate_key()}, "k2")

    def save(number: int) -> None:
        sealed = both.seal(scope, Secrets(f"sk_test_saved_{number:016d}"))
        with ledger.begin() as session:
            connections.update_connection(session, scope, made.id, {"sealed": sealed})

    in_threads([lambda: save(1), lambda: rotate_encryption(ledger, both)])
    with ledger.read() as session:
        assert connections.open_secrets(session, scope, made.id, both).secret_key == "sk_test_saved_0000000000000001"


def test_S1_a_mapping_is_intended_once_also_by_several_at_once(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_connection(session, scope)

    def intend() -> str:
        return ledger.run(lambda session: mappings.intend(session, scope, made.id, "invoice", "inv_1", NOW)).id

    assert len(set(in_threads([intend] * 4))) == 1


def test_a_mapping_moves_forwards_and_gathers_what_is_learnt(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_connection(session, scope)
        intended = mappings.intend(session, scope, made.id, "invoice", "inv_1", NOW)
        assert (intended.state, intended.key_version, intended.provider_id) == ("intended", 1, None)

        def record(state: str, **what: object) -> mappings.MappingRecord:
            return mappings.record(session, scope, made.id, "invoice", "inv_1", state=state, now=NOW, **what)  # type: ignore[arg-type]

        assert record("failed", last_error="timeout", key_version=2).last_error == "timeout"
        created = record("created", provider_id="in_1", detail={"lines": 2})
        assert (created.state, created.last_error, created.key_version) == ("created", None, 2)
        done = record("done", detail={"total": "10.00"})
        assert done.detail == {"lines": 2, "total": "10.00"}
        assert record("created").state == record("failed").state == "done"
        assert mappings.by_provider_id(session, scope, made.id, "invoice", "in_1") == record("done")
        assert mappings.list_mappings(session, scope, entity="invoice", state="done").items == [record("done")]


def test_S1_no_two_rows_share_an_object_of_the_provider(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_connection(session, scope)
        for entity_id in ("cus_1", "cus_2"):
            mappings.intend(session, scope, made.id, "customer", entity_id, NOW)
        mappings.record(session, scope, made.id, "customer", "cus_1", state="done", provider_id="cus_X", now=NOW)
        for entity_id, provider_id in (("cus_2", "cus_X"), ("cus_1", "cus_Y")):
            with pytest.raises(Conflict, match="mapped to others"):
                mappings.record(
                    session, scope, made.id, "customer", entity_id, state="done", provider_id=provider_id, now=NOW
                )


def test_a_mapping_needs_its_intention_first(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_connection(session, scope)
        with pytest.raises(NotFound, match="no such mapping"):
            mappings.record(session, scope, made.id, "customer", "cus_1", state="created", now=NOW)
        with pytest.raises(NotFound, match="no such connection"):
            mappings.intend(session, scope, "conn_none", "customer", "cus_1", NOW)
