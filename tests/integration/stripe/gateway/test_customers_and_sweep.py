"""Customers made once and kept up to date, and the sweep that finishes what a crash or an outage left behind."""

from datetime import timedelta

import pytest

from billing.ports import ProviderUnavailable
from ledger.store import customers, outbox
from pipelines.steps import connections, process_webhook, stripe_sweep, sync_customer
from pipelines.steps.connections import ConnectionUpdate
from pipelines.steps.stripe_sweep import Swept
from tests.integration.stripe.gateway.world import World, answered
from tests.support.at_once import in_threads
from tests.support.ledger_rows import BOX
from tests.support.sandbox_process import submit_card


def push(world: World, customer_id: str) -> str:
    return sync_customer.push_customer(world.ledger, world.scope, world.link(), customer_id, world.now)


def rename(world: World, customer_id: str, name: str, email: str | None) -> None:
    with world.ledger.begin() as session:
        customers.update_customer(session, world.scope, customer_id, {"name": name, "email": email})


def enqueue(world: World, kind: str, entity_id: str) -> None:
    with world.ledger.begin() as session:
        outbox.enqueue(session, world.scope, kind, entity_id, world.now)


def sweep(world: World) -> Swept:
    return stripe_sweep.sweep(world.ledger, world.gateways(), world.now)


def items(world: World) -> list[tuple[str, str | None]]:
    with world.ledger.read() as session:
        return [(item.state, item.last_error) for item in outbox.list_items(session, world.scope).items]


def test_S1_workers_at_once_make_one_customer(world: World) -> None:
    world.connect()
    customer = world.customer()
    made = [*in_threads([lambda: answered(lambda: push(world, customer.id))] * 4), push(world, customer.id)]
    assert len(set(made) - {None}) == len(world.stripe_customers()) == 1
    assert world.mapping("customer", customer.id).provider_id == made[-1]


def test_a_changed_name_is_pushed_also_when_it_changes_back_within_a_day(world: World) -> None:
    world.connect()
    customer = world.customer()
    seen = []
    for name, email in (("Acme", "a@acme.example"), ("Umbrella", None), ("Acme", "a@acme.example"), ("Umbrella", None)):
        rename(world, customer.id, name, email)
        push(world, customer.id)
        (there,) = world.stripe_customers()
        seen.append((there["name"], there["email"]))
    assert seen == [("Acme", "a@acme.example"), ("Umbrella", None)] * 2


def test_the_customer_carries_our_ids_so_that_it_can_be_found(world: World) -> None:
    world.connect()
    customer = world.customer("acme_corp_001")
    push(world, customer.id)
    (there,) = world.stripe_customers()
    assert there["metadata"] == {
        "tallyhouse_customer_id": customer.id,
        "customer_id": "acme_corp_001",
        "tenant": world.scope.tenant_id,
        "environment": world.scope.environment_id,
    }


def test_a_customer_who_is_at_stripe_already_is_taken_over_by_the_email(world: World) -> None:
    world.connect()
    there = world.post("/v1/customers", "dashboard", name="ACME Inc.", email="billing@acme.example")
    customer = world.customer()
    assert push(world, customer.id) == there["id"]
    (only,) = world.stripe_customers()
    assert (only["name"], only["metadata"]["tallyhouse_customer_id"]) == ("Acme", customer.id)


def test_an_email_that_several_have_or_that_is_anothers_makes_a_customer_of_its_own(world: World) -> None:
    world.connect()
    first = push(world, world.customer().id)
    assert push(world, world.customer("namesake").id) != first
    for number in (1, 2):
        world.post("/v1/customers", f"dashboard:{number}", name="Twin", email="twin@example.com")
    push(world, world.customer("twin", "twin@example.com").id)
    assert len(world.stripe_customers()) == 5


def test_what_was_changed_at_stripe_comes_in_unless_it_was_changed_here_as_well(world: World) -> None:
    world.connect()
    customer = world.customer()
    there = push(world, customer.id)
    world.post(f"/v1/customers/{there}", "dashboard:1", name="Acme Ltd", email="new@acme.example")
    world.hear()
    assert kept(world, customer.id) == ("Acme Ltd", "new@acme.example")

    rename(world, customer.id, "Umbrella", "new@acme.example")
    world.post(f"/v1/customers/{there}", "dashboard:2", name="Acme Group", email="last@acme.example")
    world.hear()
    assert kept(world, customer.id) == ("Umbrella", "last@acme.example")
    push(world, customer.id)
    (now_there,) = world.stripe_customers()
    assert (now_there["name"], now_there["email"]) == ("Umbrella", "last@acme.example")


def test_customers_stay_where_they_are_when_no_direction_is_wanted(world: World) -> None:
    connection = world.connect()
    customer = world.customer()
    there = push(world, customer.id)
    off = ConnectionUpdate(sync_config={"customer": {"inbound": False, "outbound": False}})
    connections.change(world.ledger, world.scope, BOX, world.gateway, connection.id, off, "key_1", world.now)
    world.post(f"/v1/customers/{there}", "dashboard", name="Acme Ltd")
    world.hear()
    assert kept(world, customer.id)[0] == "Acme"
    rename(world, customer.id, "Umbrella", None)
    push(world, customer.id)
    assert [each["name"] for each in world.stripe_customers()] == ["Acme Ltd"]
    refused = world.sync(world.invoice(customer=world.customer("new", "new@example.com")).id)
    assert (refused.outcome, refused.reason) == ("refused", "customer_not_synced")


def kept(world: World, customer_id: str) -> tuple[str, str | None]:
    with world.ledger.read() as session:
        found = customers.get_customer(session, world.scope, customer_id)
    return found.name, found.email


def test_a_customer_deleted_in_the_dashboard_breaks_the_mapping_and_the_next_use_makes_a_new_one(world: World) -> None:
    world.connect()
    customer = world.customer()
    old = push(world, customer.id)
    world.delete(f"/v1/customers/{old}")
    world.hear()
    assert world.mapping("customer", customer.id).provider_id is None
    assert push(world, customer.id) != old


def test_a_card_detached_in_the_dashboard_is_no_longer_shown(world: World) -> None:
    world.connect()
    customer = world.customer()
    world.save_card(customer)
    card = world.mapping("customer", customer.id).detail["default_card"]
    world.post(f"/v1/payment_methods/{card['id']}/detach", "dashboard")
    world.hear()
    assert world.mapping("customer", customer.id).detail["default_card"] is None


def test_the_sweep_finishes_customers_and_invoices_that_wait(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    enqueue(world, "customer.sync", invoice.customer_id)
    enqueue(world, "invoice.sync", invoice.id)
    assert (sweep(world).done, items(world)) == (2, [("done", None)] * 2)
    assert [there["total"] for there in world.stripe_invoices()] == [11850]
    assert sweep(world).done == 0


def test_the_sweep_tries_again_later_what_stripe_could_not_answer(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    enqueue(world, "invoice.sync", invoice.id)
    world.control.fault(action="error", status=503, path="/v1/invoices", method="POST", times=2)
    assert sweep(world).retried == 1
    assert items(world) == [("open", "provider_failed: An unknown error occurred.")]
    assert sweep(world) == Swept(process_webhook.Processed(), 0, 0, 0)
    world.now += timedelta(minutes=1)
    assert sweep(world).done == 1
    assert len(world.stripe_invoices()) == 1


def test_the_sweep_does_not_forget_an_invoice_whose_customer_could_not_be_sent(world: World) -> None:
    world.connect(collection="manual")
    enqueue(world, "invoice.sync", world.invoice().id)
    world.control.fault(action="forbidden", method="POST", path="/v1/customers", times=2)
    assert sweep(world).retried == 1
    world.now += timedelta(minutes=1)
    assert sweep(world).done == 1
    assert len(world.stripe_invoices()) == 1


def test_the_sweep_leaves_a_refusal_where_it_is_read_and_does_not_insist(world: World) -> None:
    world.connect()
    invoice = world.invoice(("0.10",))
    enqueue(world, "invoice.sync", invoice.id)
    assert sweep(world).done == 1
    assert world.mapping("invoice", invoice.id).last_error == "below_minimum"


def test_one_bad_item_does_not_stop_the_next(world: World) -> None:
    world.connect(collection="manual")
    enqueue(world, "invoice.sync", "inv_nowhere")
    enqueue(world, "unheard.of", "x")
    enqueue(world, "customer.sync", world.customer().id)
    swept = sweep(world)
    assert (swept.done, swept.dead) == (1, 2)
    assert sorted(items(world), key=str) == [
        ("done", None),
        ("failed", "invoice_not_found"),
        ("failed", "unknown kind unheard.of"),
    ]


def test_a_lost_webhook_is_made_good_by_looking(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    submit_card(world.sync(invoice.id).hosted_invoice_url or "")
    assert stripe_sweep.follow_open(world.ledger, world.gateways(), world.scope, world.now) == 1
    assert world.read_invoice(invoice.id).payment_status == "paid"
    assert stripe_sweep.follow_open(world.ledger, world.gateways(), world.scope, world.now) == 0


def test_an_invoice_to_be_sent_is_sent_once_where_we_collect_by_hand(world: World) -> None:
    world.connect(collection="manual", days_until_due=14)
    invoice = world.invoice(collection_method="send_invoice")
    world.sync(invoice.id)
    (there,) = world.stripe_invoices()
    assert there["collection_method"] == "send_invoice"
    assert there["due_date"] - there["status_transitions"]["finalized_at"] == 14 * 86400
    assert [event["type"] for event in world.events()].count("invoice.sent") == 1


def test_an_unreachable_stripe_is_an_error_of_ours_that_names_no_secret(world: World) -> None:
    world.connect()
    world.control.fault(action="drop", path="/v1/customers", method="POST", times=9)
    with pytest.raises(ProviderUnavailable) as trouble:
        push(world, world.customer().id)
    assert trouble.value.code == "provider_unreachable"
    assert world.key not in str(trouble.value) + repr(trouble.value.__cause__)
