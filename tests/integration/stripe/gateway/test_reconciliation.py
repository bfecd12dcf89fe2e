"""Our books against Stripe's: what is safe is repaired and then agrees, what is not is told and left alone."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from billing.invoice import InvoiceStatus
from ledger.store import audit, payments, refunds
from ledger.store.credit_notes import CreditNoteRecord
from ledger.store.refunds import RefundRecord
from pipelines.steps import payment_link, sync_customer
from pipelines.steps.credit_invoice import NewCreditNote, issue_note
from pipelines.steps.pay_invoice import pay_with_card
from pipelines.steps.reconcile_everywhere import reconcile_everywhere
from pipelines.steps.reconcile_stripe import Reconciled, reconcile_stripe
from pipelines.steps.refund_payment import WantedRefund, request_refund
from pipelines.steps.stripe_sweep import sweep
from tests.integration.stripe.gateway.world import NO_URL, OK_URL, World
from tests.support.sandbox_process import submit_card

MONTH = 31 * 86400


def reconcile(world: World, *, repair: bool = True) -> Reconciled:
    since = world.now - timedelta(days=35)
    return reconcile_stripe(world.ledger, world.gateways(), world.scope, since, world.now, repair=repair)


def kinds(done: Reconciled) -> list[tuple[str, bool]]:
    return [(each.kind, each.repaired) for each in done.differences]


def issue(world: World, invoice_id: str, amount: str, settle_as: str = "credit") -> CreditNoteRecord:
    """A credit note that the outbox still holds."""
    wanted = NewCreditNote(invoice_id, "Outage", Decimal(amount), settle_as=settle_as)
    with world.ledger.begin() as session:
        return issue_note(session, world.scope, wanted, "key_1", world.now)


def paid_by_card(world: World) -> tuple[str, str]:
    """An invoice of 118.50 and Stripe's id of its payment."""
    world.connect(collection="manual")
    customer = world.customer()
    world.save_card(customer)
    invoice = world.invoice(customer=customer)
    world.sync(invoice.id)
    payment = pay_with_card(world.ledger, world.scope, world.link(), invoice.id, world.now)
    world.hear()
    return invoice.id, payment.gateway_payment_id or ""


def ask_back(world: World, invoice_id: str, amount: str) -> RefundRecord:
    """A refund that the outbox still holds."""
    with world.ledger.begin() as session:
        (payment,) = payments.list_payments(session, world.scope, invoice_id=invoice_id).items
        return request_refund(session, world.scope, WantedRefund(payment.id, Decimal(amount)), "key_1", world.now)


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
    issue(world, paid.invoice_id, "18.50", "refund")
    sweep(world.ledger, world.gateways(), world.now)
    world.hear()
    done = reconcile(world)
    assert (done.invoices, done.customers, done.credit_notes, done.refunds) == (2, 1, 1, 1)
    assert (done.differences, done.left) == ((), ())
    with world.ledger.read() as session:
        (entry,) = audit.list_entries(session, world.scope, action="stripe.reconciled").items
    assert (entry.detail["invoices"], entry.detail["left"]) == (2, 0)


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


def test_a_credit_note_that_was_never_sent_is_sent_once(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    world.sync(invoice.id)
    note = issue(world, invoice.id, "18.50")
    # The work is lost, as with a restored backup.
    with world.ledger.begin() as session:
        session.execute(text("DELETE FROM outbox"))
    assert kinds(reconcile(world)) == [("credit_note_not_sent", True)]
    assert world.mapping("credit_note", note.id).state == "done"
    assert world.stripe_invoices()[0]["amount_remaining"] == 10000
    assert reconcile(world).differences == ()


def test_a_credit_note_that_stripe_refuses_is_told_with_the_reason(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    synced = world.sync(invoice.id)
    world.post(f"/v1/invoices/{synced.stripe_invoice_id}/mark_uncollectible", "dashboard")
    issue(world, invoice.id, "18.50")
    [left] = [each for each in reconcile(world).left if each.entity == "credit_note"]
    assert (left.kind, left.ours) == ("credit_note_not_sent", "issued, 18.50 USD, invoice_uncollectible")


@pytest.mark.parametrize("what", ["issued", "voided"])
def test_a_credit_note_of_the_dashboard_that_nobody_told_us_of_is_taken_over_or_void_here(
    world: World, what: str
) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    synced = world.sync(invoice.id)
    if what == "issued":
        world.post("/v1/credit_notes", "dashboard", invoice=synced.stripe_invoice_id or "", amount="1850")
    else:
        note = issue(world, invoice.id, "18.50")
        sweep(world.ledger, world.gateways(), world.now)
        world.post(f"/v1/credit_notes/{world.mapping('credit_note', note.id).provider_id}/void", "dashboard")
    events_are_forgotten(world)
    kind = "credit_note_extra" if what == "issued" else "credit_note_state_differs"
    before = world.read_invoice(invoice.id)
    assert (kind, False) in kinds(reconcile(world, repair=False))
    assert world.read_invoice(invoice.id) == before
    assert (kind, True) in kinds(reconcile(world))
    due = "100.00" if what == "issued" else "118.50"
    assert f"{world.read_invoice(invoice.id).amount_remaining:f}" == due
    assert reconcile(world).differences == ()


def test_credit_notes_that_are_crossed_or_gone_over_there_are_told_and_left_alone(world: World) -> None:
    world.connect(collection="manual")
    invoice = world.invoice()
    world.sync(invoice.id)
    first, second = issue(world, invoice.id, "18.50"), issue(world, invoice.id, "10.00")
    sweep(world.ledger, world.gateways(), world.now)
    wrong = world.mapping("credit_note", second.id).provider_id
    with world.ledger.begin() as session:
        session.execute(text("UPDATE mappings SET provider_id = 'cn_gone' WHERE entity_id = :id"), {"id": second.id})
        values = {"id": first.id, "wrong": wrong}
        session.execute(text("UPDATE mappings SET provider_id = :wrong WHERE entity_id = :id"), values)
    found = {each.kind: each for each in reconcile(world).left}
    assert found.keys() == {"credit_note_amount_differs", "credit_note_missing", "credit_note_extra"}
    differs = found["credit_note_amount_differs"]
    assert (differs.ours, differs.theirs) == ("issued, 18.50 USD", "issued, 10.00 USD")
    assert found["credit_note_extra"].entity_id == first.id


def test_a_refund_that_was_never_sent_is_sent_once(world: World) -> None:
    invoice_id, _ = paid_by_card(world)
    asked = ask_back(world, invoice_id, "18.50")
    with world.ledger.begin() as session:
        session.execute(text("DELETE FROM outbox"))
    assert kinds(reconcile(world)) == [("refund_not_sent", True)]
    assert [each["amount"] for each in world.get("/v1/refunds", limit="10")["data"]] == [1850]
    with world.ledger.read() as session:
        assert refunds.get_refund(session, world.scope, asked.id).status == "succeeded"
    assert reconcile(world).differences == ()


def test_a_refund_of_the_dashboard_that_nobody_told_us_of_is_booked_on_its_payment(world: World) -> None:
    invoice_id, intent = paid_by_card(world)
    world.post("/v1/refunds", "dashboard", payment_intent=intent, amount="11850")
    events_are_forgotten(world)
    assert ("refund_extra", False) in kinds(reconcile(world, repair=False))
    assert world.read_invoice(invoice_id).payment_status == "paid"
    assert ("refund_extra", True) in kinds(reconcile(world))
    assert world.read_invoice(invoice_id).payment_status == "refunded"
    assert reconcile(world).differences == ()


def test_a_refund_that_failed_while_nobody_listened_has_failed_here(world: World) -> None:
    world.connect(collection="manual")
    customer = world.customer()
    world.save_card(customer, "4000 0000 0000 5126")
    invoice = world.invoice(customer=customer)
    world.sync(invoice.id)
    pay_with_card(world.ledger, world.scope, world.link(), invoice.id, world.now)
    world.hear()
    asked = ask_back(world, invoice.id, "18.50")
    sweep(world.ledger, world.gateways(), world.now)
    # The bank sends it back a day later, and Stripe's event of that is forgotten as well.
    world.control.clock(advance=2 * 86400)
    events_are_forgotten(world)
    assert kinds(reconcile(world)) == [("refund_state_differs", True)]
    with world.ledger.read() as session:
        assert refunds.get_refund(session, world.scope, asked.id).status == "failed"


def test_a_refund_of_another_amount_or_gone_over_there_is_told_and_left_alone(world: World) -> None:
    invoice_id, _ = paid_by_card(world)
    first, second = ask_back(world, invoice_id, "18.50"), ask_back(world, invoice_id, "10.00")
    sweep(world.ledger, world.gateways(), world.now)
    world.hear()
    with world.ledger.begin() as session:
        session.execute(text("UPDATE refunds SET amount = '18.00' WHERE id = :id"), {"id": first.id})
        session.execute(text("UPDATE refunds SET gateway_refund_id = 're_gone' WHERE id = :id"), {"id": second.id})
    found = {each.kind: (each.entity_id, each.ours, each.theirs) for each in reconcile(world).left}
    assert found == {
        "refund_amount_differs": (first.id, "succeeded, 18.00 USD", "succeeded, 18.50 USD"),
        "refund_missing": (second.id, "succeeded, 10.00 USD", "gone"),
    }


def test_a_dispute_that_nobody_told_us_of_is_in_the_history_of_its_payment(world: World) -> None:
    world.connect(collection="manual")
    customer = world.customer()
    world.save_card(customer, "4000 0000 0000 0259")
    invoice = world.invoice(customer=customer)
    world.sync(invoice.id)
    pay_with_card(world.ledger, world.scope, world.link(), invoice.id, world.now)
    events_are_forgotten(world)
    assert ("dispute_extra", False) in kinds(reconcile(world, repair=False))
    assert ("dispute_extra", True) in kinds(reconcile(world))
    [dispute] = world.get("/v1/disputes")["data"]
    world.post(f"/v1/disputes/{dispute['id']}/close", "lost")
    events_are_forgotten(world)
    assert ("dispute_state_differs", True) in kinds(reconcile(world))
    assert reconcile(world).differences == ()
