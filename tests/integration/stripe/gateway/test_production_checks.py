"""The checklist's points that no running service shows: what a key may do, how old it is, where webhooks come in."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text

from ledger.store import keys
from pipelines.steps import connections
from pipelines.steps.connections import ConnectionUpdate
from pipelines.steps.production_checks import check_production
from pipelines.steps.production_place import Finding, Place
from tests.integration.stripe.gateway.test_restricted_key import restricted, rights_of_the_docs
from tests.integration.stripe.gateway.world import World
from tests.support.ledger_rows import BOX, a_scope
from tests.support.sandbox_process import new_account
from warehouse_sql.client import Warehouse

NOWHERE, OURS = "http://127.0.0.1:9", "https://billing.example"


@pytest.fixture
def look(world: World) -> Callable[..., dict[str, Finding]]:
    """The points by name; nobody answers for the warehouse."""

    def looked(of: World = world, public_url: str = OURS, support_url: str = "") -> dict[str, Finding]:
        warehouse = Warehouse(NOWHERE, "default", "", "tallyhouse")
        place = Place(of.ledger, warehouse, of.gateways(), BOX, of.scope, public_url, False, support_url, of.now)
        found = check_production(place)
        warehouse.close()
        assert all(each.way_out for each in found if each.level != "green")
        return {each.check: each for each in found}

    return looked


def test_a_warehouse_that_does_not_answer_is_one_red_point(
    world: World, look: Callable[..., dict[str, Finding]]
) -> None:
    world.connect()
    found = look()
    assert found["usage events"].level == "red"
    assert found["Stripe connection"].level == "amber"


def test_a_live_key_wants_its_webhooks_over_https(world: World, look: Callable[..., dict[str, Finding]]) -> None:
    with world.ledger.begin() as session:
        world.scope = a_scope(session, environment="live", kind="live")
    world.key = new_account("live")
    world.connect()
    plain = look(public_url="http://billing.example")["webhook endpoint"]
    assert (plain.level, "is not https" in plain.detail) == ("red", True)
    assert "is not there" in look()["webhook endpoint"].detail


def test_what_a_restricted_key_may_not_read_is_red_and_named(
    world: World, look: Callable[..., dict[str, Finding]]
) -> None:
    few = restricted(world, rights_of_the_docs() | {"invoice": "none"})
    few.connect()
    found = look(few)["rights of the key"]
    assert (found.level, found.detail) == ("red", "the restricted key may not read Invoices")
    enough = restricted(world, rights_of_the_docs())
    args = (few.ledger, few.scope, BOX, few.gateway, few.link().connection.id)
    connections.change(*args, ConnectionUpdate(secret_key=enough.key), "key_1", few.now)
    assert look(few)["rights of the key"].level == "green"


def test_keys_of_a_quarter_ago_are_named_until_they_are_exchanged(
    world: World, look: Callable[..., dict[str, Finding]]
) -> None:
    connection = world.connect()
    with world.ledger.begin() as session:
        old, _ = keys.create_key(session, world.scope, "ingest", keys.ALL_SCOPES, world.now)
    assert look()["age of keys"].level == "green"
    world.now += timedelta(days=91)
    found = look()["age of keys"]
    assert found.level == "amber"
    assert f"key ingest (…{old.last4})" in found.detail
    assert f"Stripe's key …{world.key[-4:]}" in found.detail
    with world.ledger.begin() as session:
        keys.revoke_key(session, world.scope, old.id, world.now)
    args = (world.ledger, world.scope, BOX, world.gateway, connection.id)
    connections.change(*args, ConnectionUpdate(secret_key=world.key), "key_1", world.now)
    assert look()["age of keys"].level == "green"


def test_events_that_only_stripes_list_told_are_named(world: World, look: Callable[..., dict[str, Finding]]) -> None:
    world.connect()
    world.save_card(world.customer())
    assert look()["webhook delivery"].level == "green"
    with world.ledger.begin() as session:
        session.execute(text("UPDATE webhook_deliveries SET source = 'events_api'"))
    found = look()["webhook delivery"]
    assert (found.level, "found at Stripe, not delivered" in found.detail) == ("amber", True)


def test_support_is_green_once_somebody_has_written_it_down(
    world: World, look: Callable[..., dict[str, Finding]]
) -> None:
    world.connect()
    assert look()["customer support"].level == "amber"
    assert look(support_url="https://wiki.example/billing")["customer support"].level == "green"
