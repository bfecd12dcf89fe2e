"""Promises S1 and S2 where many invoices are sent at once: cut off anywhere, each is at Stripe exactly once."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, cast

import pytest

from billing.adjustments.adjust import DiscountTerms, InvoiceTerms, TaxTerms
from billing.ports import PaymentGateway
from ledger.db import Ledger
from ledger.store import outbox
from ledger.store.invoices import InvoiceRecord
from pipelines.steps import payment_link
from pipelines.steps.credit_invoice import NewCreditNote, issue_note
from pipelines.steps.stripe_sweep import sweep
from pipelines.steps.sync_invoices import Sent, sync_invoices
from tests.integration.stripe.gateway.cutting import Cut, CuttingGateway
from tests.integration.stripe.gateway.world import NO_URL, OK_URL, START, World
from tests.support.at_once import in_threads

BILLED = START + timedelta(days=31), START + timedelta(days=32)
TERMS = InvoiceTerms(
    (DiscountTerms("dis_1", "coupon_1", "Friends", percent_off=Decimal(10)),),
    (TaxTerms("txr_1", "VAT", Decimal(19), inclusive=False),),
)


class Died(BaseException):
    """The process is gone: nothing of it goes on."""


class _DyingGateway(CuttingGateway):
    """What is in other threads when it dies does no more call either."""

    dead = False

    def around(self, inner: PaymentGateway) -> PaymentGateway:
        around, process = super().around(inner), self

        class Around:
            def __getattr__(self, name: str) -> Callable[..., Any]:
                method = cast("Callable[..., Any]", getattr(around, name))

                def call(*args: Any, **kwargs: Any) -> Any:
                    if process.dead:
                        raise Died
                    try:
                        return method(*args, **kwargs)
                    except Cut as error:
                        process.dead = True
                        raise Died from error

                return call

        return cast("PaymentGateway", Around())


class _DyingLedger:
    """Dies before or after the transaction of that number that writes for many."""

    def __init__(self, inner: Ledger, at: int, when: str) -> None:
        self._inner, self._left, self._when = inner, at, when

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def run(self, work: Callable[..., Any]) -> Any:
        self._left -= 1
        if self._left == 0 and self._when == "before":
            raise Died
        done = self._inner.run(work)
        if self._left == 0:
            raise Died
        return done


def send(world: World, ledger: Ledger | None = None, **gateways: Any) -> Sent:
    return sync_invoices(ledger or world.ledger, world.gateways(**gateways), *BILLED, world.now)


def two(world: World, name: str) -> list[InvoiceRecord]:
    """One invoice with everything, one plain, of a customer each."""
    return [
        world.invoice(amounts, customer=world.customer(f"{name}_{n}", f"{name}_{n}@example.com"), terms=terms)
        for n, (amounts, terms) in enumerate([(("50.00", "20.00"), TERMS), (("7.00",), InvoiceTerms())])
    ]


def assert_once(world: World, invoices: Sequence[InvoiceRecord], where: str) -> None:
    there = [(each["metadata"]["tallyhouse_invoice_id"], each) for each in world.stripe_invoices()]
    for invoice in invoices:
        (seen,) = [each for ours, each in there if ours == invoice.id]
        assert (seen["status"], Decimal(seen["total"]) / 100) == ("open", invoice.amount_due), where
        lines = world.stripe_lines(seen["id"])
        assert {line["metadata"]["tallyhouse_line_id"] for line in lines} == {line.id for line in invoice.lines}, where
        assert len(lines) == len(invoice.lines), where
        mapping = world.mapping("invoice", invoice.id)
        assert (mapping.state, mapping.provider_id) == ("done", seen["id"]), where
        assert mapping.detail["collected_by"] == "manual", where
        assert world.read_invoice(invoice.id).stripe_hosted_invoice_url == seen["hosted_invoice_url"], where


@pytest.mark.parametrize("when", ["before", "after"])
def test_S1_a_crash_at_any_call_of_a_batch_leads_to_exactly_one_of_everything(
    world: World, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.steps.connections._FEWEST_AT_ONCE", 1)
    monkeypatch.setattr("pipelines.steps.connections._MOST_AT_ONCE", 1)
    world.connect(collection="manual")
    at, died = 0, True
    while died:
        at += 1
        invoices = two(world, f"{when}_{at}")
        cut = _DyingGateway(at, when)
        try:
            sent = send(world, wrap=cut.around)
            died = False
        except Died:
            sent = send(world)
        assert sent.failures == ()
        assert {result.outcome for _, result in sent.results} == {"synced"}, cut.calls
        assert sent.failures == ()
        assert_once(world, invoices, f"{when} call {at} of {cut.calls}")
    # For each customer a look and the customer, for each invoice the draft, its lines, finalizing; and one coupon.
    assert at - 1 == 2 * (2 + 3) + 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_S1_a_crash_at_any_transaction_of_a_batch_leads_to_exactly_one_of_everything(world: World, when: str) -> None:
    world.connect(collection="manual")
    for at in (1, 2, 3):
        invoices = two(world, f"{when}_{at}")
        with pytest.raises(Died):
            send(world, cast("Ledger", _DyingLedger(world.ledger, at, when)))
        again = send(world)
        assert len(again.results) == (0 if (at, when) == (3, "after") else 2)
        assert_once(world, invoices, f"{when} transaction {at}")


def test_S1_two_workers_over_the_same_batches_send_each_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.steps.send_invoices.MOST_AT_ONCE", 4)
    world.connect(collection="manual")
    customers = [world.customer(f"customer_{n}", f"c{n}@example.com") for n in range(3)]
    invoices = [world.invoice(("5.00", "7.00"), customer=customer) for customer in customers for _ in range(3)]
    in_threads([lambda: send(world), lambda: send(world)])
    send(world)
    assert len(world.stripe_customers()) == len(customers)
    assert len(world.stripe_invoices()) == len(invoices)
    assert_once(world, invoices, "two workers")


def test_a_first_try_takes_three_calls_and_what_is_unusual_is_sent_with_care(world: World) -> None:
    world.connect(collection="manual")
    customer = world.customer()
    world.sync(world.invoice(("1.00",), customer=customer).id)
    plain, many, linked, credited = (
        world.invoice(amounts, customer=customer)
        for amounts in (("5.00", "7.00"), ("1.00",) * 14, ("9.00",), ("8.00",))
    )
    asked = payment_link.LinkRequest(linked.id, OK_URL, NO_URL)
    payment_link.create(world.ledger, world.scope, world.link(), asked, world.now)
    with world.ledger.begin() as session:
        note = NewCreditNote(credited.id, "Outage", Decimal("2.00"), settle_as="credit")
        issue_note(session, world.scope, note, "key_1", world.now)
    listening = CuttingGateway(0, "before")
    sent = send(world, wrap=listening.around)
    assert [result.outcome for _, result in sent.results] == ["synced"] * 4
    calls = listening.calls
    assert [calls.count(name) for name in ("create_invoice", "add_lines", "finalize_invoice")] == [4, 4, 4]
    # More lines than an answer holds are asked for; a page is closed, and a credit note follows its invoice.
    assert calls.count("get_invoice_lines") == 1
    assert calls.count("expire_session") == 1
    assert calls.count("create_credit_note") == 1
    assert_once(world, [plain, many, linked], "all but the credited one")


def test_the_outbox_sends_its_invoices_together_and_gives_up_only_what_is_not_there(world: World) -> None:
    world.connect(collection="manual")
    invoices = two(world, "one") + two(world, "other")
    with world.ledger.begin() as session:
        for entity_id in [*(each.id for each in invoices), "inv_nowhere"]:
            outbox.enqueue(session, world.scope, "invoice.sync", entity_id, world.now)
    listening = CuttingGateway(0, "before")
    swept = sweep(world.ledger, world.gateways(listening.around), world.now)
    assert (swept.done, swept.retried, swept.dead) == (4, 0, 1)
    # Each customer is looked for and made, each invoice made, filled and finalized; two have a coupon.
    assert len(listening.calls) == 4 * (2 + 3) + 2
    assert_once(world, invoices, "out of the outbox")


def test_S2_one_that_differs_is_not_finalized_and_stops_no_other(world: World) -> None:
    world.connect(collection="manual")
    good, bad = two(world, "one")[1], world.invoice(("3.00",), customer=world.customer("bad", "bad@example.com"))
    world.control.fault(action="error", status=400, method="POST", path="/v1/invoices/*/add_lines", times=9)
    sent = send(world)
    assert sorted(result.outcome for _, result in sent.results) == ["failed"] * 3
    world.control.call("DELETE", "/faults")
    assert sorted(result.outcome for _, result in send(world).results) == ["synced"] * 3
    assert_once(world, [good, bad], "after the faults")


def test_where_stripe_is_away_every_invoice_waits_in_the_outbox_and_few_calls_are_made(world: World) -> None:
    world.connect(collection="manual")
    customers = [world.customer(f"customer_{n}", f"c{n}@example.com") for n in range(12)]
    for customer in customers:
        world.invoice(("5.00",), customer=customer)
    world.control.fault(action="error", status=503, times=1000)
    listening = CuttingGateway(0, "before")
    sent = send(world, wrap=listening.around)
    assert (len(sent.results), len(sent.failures)) == (0, 12)
    # Those that were on their way when the third was not answered, and no more.
    assert len(listening.calls) <= 12
    with world.ledger.read() as session:
        assert len(outbox.list_items(session, world.scope).items) == 12
