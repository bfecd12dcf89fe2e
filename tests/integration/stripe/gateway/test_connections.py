"""A connection is made only with a key that Stripe accepts, of the right mode; its secrets are nowhere to be seen."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from billing.errors import Conflict, InvalidInput
from ledger.store import audit
from ledger.store.connections import ConnectionRecord
from pipelines.steps import connections
from pipelines.steps.connections import ConnectionUpdate, NewConnection
from tests.integration.stripe.gateway.world import WEBHOOK_SECRET, World
from tests.support.ledger_rows import BOX, a_scope
from tests.support.sandbox_process import new_account


def change(world: World, connection: ConnectionRecord, **update: Any) -> ConnectionRecord:
    wanted = ConnectionUpdate(**update)
    return connections.change(world.ledger, world.scope, BOX, world.gateway, connection.id, wanted, "key_1", world.now)


def test_a_connection_knows_its_account_and_shows_only_last_digits(world: World) -> None:
    connection = world.connect(invoice={"inbound": False, "outbound": True})
    assert (connection.account_id or "").startswith("acct_")
    assert (connection.livemode, connection.status) == (False, "active")
    assert connection.secret_key_last4 == world.key[-4:]
    assert world.key not in str(asdict(connection))


def test_S4_no_secret_is_in_the_database_in_the_clear(world: World) -> None:
    world.connect()
    files = list(Path(str(world.ledger.url.database)).parent.glob("ledger.db*"))
    stored = b"".join(file.read_bytes() for file in files)
    assert b"conn_" in stored
    assert world.key.encode() not in stored
    assert WEBHOOK_SECRET.encode() not in stored
    assert world.key not in repr(NewConnection("x", world.key, (WEBHOOK_SECRET,)))


@pytest.mark.parametrize(
    ("request_", "code", "field"),
    [
        (NewConnection("x", "pk_test_0123456789abcdef01234567"), "secret_key_malformed", "secret_key"),
        (NewConnection("x", "sk_live_0123456789abcdef01234567"), "key_mode_mismatch", "secret_key"),
        (NewConnection("x", "sk_test_01234567"), "secret_key_refused", "secret_key"),
        (
            NewConnection("x", "sk_test_0123456789abcdef01234567", ("secret",)),
            "webhook_secret_malformed",
            "webhook_secrets[0]",
        ),
        (
            NewConnection("x", "sk_test_0123456789abcdef01234567", (), {"invoice": {"inbound": True}}),
            "sync_direction_not_supported",
            "sync_config.invoice.inbound",
        ),
        (
            NewConnection("x", "sk_test_0123456789abcdef01234567", (), {"collection": "both"}),
            "sync_config_invalid",
            "sync_config.collection",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_it_is_stored(
    world: World, request_: NewConnection, code: str, field: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        connections.connect(world.ledger, world.scope, BOX, world.gateway, request_, "key_1", world.now)
    assert (refusal.value.code, refusal.value.field) == (code, field)
    assert request_.secret_key not in str(refusal.value)
    assert world.gateways().active(world.scope) is None


def test_a_test_key_is_refused_in_a_live_environment_and_a_live_key_accepted(world: World) -> None:
    with world.ledger.begin() as session:
        live = a_scope(session, environment="live", kind="live")
    asked = [NewConnection("x", new_account(mode)) for mode in ("test", "live")]
    with pytest.raises(InvalidInput) as refusal:
        connections.connect(world.ledger, live, BOX, world.gateway, asked[0], "key_1", world.now)
    assert refusal.value.code == "key_mode_mismatch"
    assert connections.connect(world.ledger, live, BOX, world.gateway, asked[1], "key_1", world.now).livemode


def test_a_key_is_replaced_only_by_one_of_the_same_account(world: World) -> None:
    connection = world.connect()
    with pytest.raises(Conflict) as refusal:
        change(world, connection, secret_key=new_account())
    assert refusal.value.code == "account_differs"
    changed = change(world, connection, secret_key=world.key, name="Stripe EU", webhook_secrets=("whsec_new_0123456",))
    assert (changed.name, changed.webhook_secret_last4) == ("Stripe EU", "3456")


def test_who_changed_a_connection_is_audited_without_its_secrets(world: World) -> None:
    connection = world.connect()
    change(world, connection, name="Stripe EU", webhook_secrets=("whsec_new_0123456",))
    change(world, connection, secret_key=world.key)
    with world.ledger.begin() as session:
        connections.disconnect(session, world.scope, connection.id, "key_2", world.now)
    with world.ledger.read() as session:
        entries = audit.list_entries(session, world.scope, entity_id=connection.id).items[::-1]
    assert [(each.actor, each.action) for each in entries] == [
        ("key_1", "connection.created"),
        ("key_1", "connection.changed"),
        ("key_1", "connection.key_changed"),
        ("key_2", "connection.deleted"),
    ]
    assert entries[1].detail == {"changed": ["name", "webhook_secrets"]}
    assert not any(secret in str(entries) for secret in (world.key, WEBHOOK_SECRET, "whsec_new_0123456"))


def test_an_update_of_the_webhook_secret_keeps_the_key(world: World) -> None:
    connection = world.connect()
    change(world, connection, webhook_secrets=("whsec_new_0123456", WEBHOOK_SECRET))
    assert world.link().gateway.account().id == connection.account_id


def test_a_disabled_connection_is_told_from_none(world: World) -> None:
    assert world.gateways().missing(world.scope).code == "no_connection"
    change(world, world.connect(), status="disabled")
    with pytest.raises(Conflict) as refusal:
        world.gateways().require(world.scope)
    assert refusal.value.code == "connection_inactive"


def test_a_change_of_the_sync_config_keeps_what_it_does_not_name(world: World) -> None:
    connection = world.connect(collection="manual", customer={"inbound": False})
    changed = change(world, connection, sync_config={"invoice": {"outbound": False}})
    assert changed.sync_config == {
        "collection": "manual",
        "customer": {"inbound": False},
        "invoice": {"outbound": False},
    }
    assert not world.link().provider_collects
    assert world.sync(world.invoice().id).reason == "invoice_sync_disabled"
