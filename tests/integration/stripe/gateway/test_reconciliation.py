"""Our books against Stripe's: what is safe is repaired and then agrees, what is not is told and left alone."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text

from billing.invoice import InvoiceStatus
from ledger.store import audit
from pipelines.steps import payment_link, sync_customer
from pipelines.steps.reconcile_everywhere import reconcile_everywhere
from pipelines.steps.reconcile_stripe import Reconciled, reconcile_stripe
from tests.integration.stripe.gateway.world import NO_URL, OK_URL, World
from tests.support.sandbox_process import submit_card

MONTH = 31 * 86400


def reconcile(world: World, *, repair: bool = True) -> Reconciled:
    since = world.now - timedelta(days=35)
    return reconcile_stripe(world.ledger, world.gateways(), world.scope, since, world.now, repair=repair)


def kinds(done: Reconciled) -> list[tuple[str, bool]]:
    return [(each.kind, each.repaired) for each in done.differences]


def events_are_forgotten(world: World) -> None:
    """Stripe lists events for thirty days: what was not heard of until then is found by comparing only."""
    world.control.wait_idle()
    world.control.clock(advance=MONTH)


def test_books_that_agree_are_said_to_agree(world: World) -> None:
    world.connect(collection="manual")
    customer = world.customer()
    world.save_card(customer)
    paid = world.sync(world.invoice(customer=customer).id)
    world.sync(world.invoice(("20.00",), customer=customer).id)
    submit_card(paid.hosted_invoice_url or "")
    world.hear()
    done = reconcile(world)
    assert (done.invoices, done.customers, done.differences, done.left) == (2, 1, (), ())
    with world.ledger.read() as session:
        entries = audit.list_entries(session, world.scope, entity="connection").items
    assert [entry.action for entry in entries] == ["stripe.reconciled"]


def test_a_payment_that_nobody_told_us_of_is_found_in_the_list_of_events(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    submit_card(world.sync(invoice.id).hosted_invoice_url or "")
    world.control.wait_idle()
    done = reconcile(world)
    assert (done.missed_events > 0, done.differences) == (True, ())
    assert world.read_invoice(invoice.id).payment_status == "paid"


@pytest.mark.parametrize("what", ["paid", "voided"])
def test_a_state_that_nobody_told_us_of_is_booked_and_a_report_alone_writes_nothing(world: World, what: str) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    synced = world.sync(invoice.id)
    if what == "paid":
        submit_card(synced.hosted_invoice_url or "")
    else:
        world.post(f"/v1/invoices/{synced.stripe_invoice_id}/void", "dashboard")
    events_are_forgotten(world)
    before = world.read_invoice(invoice.id)
    assert kinds(reconcile(world, repair=False)) == [("invoice_state_differs", False)]
    assert world.read_invoice(invoice.id) == before
    assert kinds(reconcile(world)) == [("invoice_state_differs", True)]
    after = world.read_invoice(invoice.id)
    assert (after.payment_status == "paid", after.status == InvoiceStatus.VOID) == (what == "paid", what == "voided")
    assert reconcile(world).differences == ()


def test_a_page_that_was_paid_on_while_nobody_listened_is_booked(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice(("20.00",))
    asked = payment_link.LinkRequest(invoice.id, OK_URL, NO_URL)
    link = payment_link.create(world.ledger, world.scope, world.link(), asked, world.now)
    submit_card(link.checkout_url or "")
    events_are_forgotten(world)
    assert ("page_not_heard_of", True) in kinds(reconcile(world))
    assert world.read_invoice(invoice.id).payment_status == "paid"
    assert world.charged() == [2000]


def test_an_invoice_that_was_never_sent_is_sent_once_and_one_that_cannot_be_is_told_with_the_reason(
    world: World,
) -> None:
    world.connect(collection="manual")
    invoice, too_small = world.invoice(), world.invoice(("0.10",), customer=world.customer("small", "s@example.com"))
    done = reconcile(world)
    assert {(each.entity_id, each.repaired) for each in done.differences} == {(invoice.id, True), (too_small.id, False)}
    assert [each.ours for each in done.left] == ["finalized, below_minimum"]
    assert [there["total"] for there in world.stripe_invoices()] == [11850]
    assert [each.entity_id for each in reconcile(world).differences] == [too_small.id]
    assert len(world.stripe_invoices()) == 1


def test_a_second_invoice_or_customer_with_our_id_is_told_and_left_alone(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    world.sync(invoice.id)
    ours = {"metadata[tenant]": world.scope.tenant_id, "metadata[environment]": world.scope.environment_id}
    twin = world.post("/v1/customers", "twin", **ours, **{"metadata[tallyhouse_customer_id]": invoice.customer_id})
    second = world.post(
        "/v1/invoices", "second", customer=twin["id"], **ours, **{"metadata[tallyhouse_invoice_id]": invoice.id}
    )
    world.post("/v1/invoices", "not ours", customer=twin["id"])
    done = reconcile(world)
    assert [(each.kind, each.provider_id, each.entity_id, each.repaired) for each in done.differences] == [
        ("customer_extra", twin["id"], invoice.customer_id, False),
        ("invoice_extra", second["id"], invoice.id, False),
    ]
    assert len(world.stripe_invoices()) == 3


def test_another_amount_over_there_is_told_and_never_repaired(world: World) -> None:
    world.connect(collection="manual")
    invoice, other = world.invoice(), world.invoice(("20.00",), customer=world.customer("other", "o@example.com"))
    world.sync(invoice.id)
    wrong = world.sync(other.id).stripe_invoice_id
    with world.ledger.begin() as session:
        # Two mappings are crossed, as by a restored backup.
        session.execute(text("DELETE FROM mappings WHERE entity_id = :id"), {"id": other.id})
        values = {"id": invoice.id, "wrong": wrong}
        session.execute(text("UPDATE mappings SET provider_id = :wrong WHERE entity_id = :id"), values)
    [differs] = [each for each in reconcile(world, repair=False).differences if each.kind == "invoice_amount_differs"]
    assert (differs.entity_id, differs.ours, differs.theirs) == (invoice.id, "118.50 USD", "20.00 USD")
    assert not differs.repaired


def test_what_is_gone_over_there_is_told_and_a_customer_is_made_anew(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    world.sync(invoice.id)
    world.control.call("POST", "/reset", {})
    assert kinds(reconcile(world)) == [("customer_missing", True), ("invoice_missing", False)]
    sync_customer.ensure_customer(world.ledger, world.scope, world.link(), invoice.customer_id, world.now)
    assert len(world.stripe_customers()) == 1


def test_an_environment_that_does_not_answer_stops_no_other(new_world: Callable[[], World]) -> None:
    world = new_world()
    world.connect()
    world.control.fault(action="forbidden", method="GET", path="/v1/customers", times=9)
    since = world.now - timedelta(days=35)
    done = reconcile_everywhere(world.ledger, world.gateways(), since, world.now, repair=True)
    assert (done.results, [failure.code for failure in done.failures]) == ((), ["provider_key_refused"])
