"""Test clocks: what a customer's clock holds stands still and follows it; all other things follow the account."""

from collections.abc import Callable
from typing import Any

import pytest
import stripe

from integrations.stripe.sandbox.accounts import opened
from integrations.stripe.sandbox.bound import CLOCK, context
from integrations.stripe.sandbox.context import Cause
from integrations.stripe.sandbox.errors import StripeError
from integrations.stripe.sandbox.store import Store, insert
from tests.integration.stripe.sandbox.conftest import Account

DAY = 86400
START = 1_767_225_600  # 1 January 2026


def clock_of(account: Account, at: int = START) -> Any:
    return account.v1.test_helpers.test_clocks.create({"frozen_time": at, "name": "A month"}, account.once())


def held_customer(account: Account, clock: Any, card: str = "pm_card_visa") -> Any:
    customer = account.customer(test_clock=clock.id)
    method = account.v1.payment_methods.attach(card, {"customer": customer.id}, account.once())
    settings = {"invoice_settings": {"default_payment_method": method.id}}
    return account.v1.customers.update(customer.id, settings, account.once())


def advance(account: Account, clock: Any, to: int) -> Any:
    """The clock once it is ready again."""
    advancing = account.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": to}, account.once())
    assert advancing.status == "advancing"
    assert advancing.status_details.advancing.target_frozen_time == to
    account.control.wait_idle()
    return account.v1.test_helpers.test_clocks.retrieve(clock.id)


def month(account: Account, customer: Any) -> Any:
    product = account.v1.products.create({"name": "Pro"}, account.once())
    data = {"currency": "usd", "product": product.id, "unit_amount": 1000, "recurring": {"interval": "month"}}
    params = {"customer": customer.id, "items": [{"price_data": data}]}
    return account.v1.subscriptions.create(params, account.once())


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        call()
    assert caught.value.http_status == 400
    return str(caught.value.user_message)


def test_a_subscription_and_its_invoices_follow_the_clock_of_their_customer(account: Account) -> None:
    clock = clock_of(account)
    customer = held_customer(account, clock)
    subscription = month(account, customer)
    assert (subscription.created, subscription.test_clock) == (START, clock.id)
    ready = advance(account, clock, START + 59 * DAY)
    assert (ready.status, ready.frozen_time) == ("ready", START + 59 * DAY)
    invoices = account.v1.invoices.list({"customer": customer.id}).data
    assert [(each.created, each.status, each.test_clock) for each in invoices] == [
        (START + 59 * DAY, "paid", clock.id),
        (START + 31 * DAY, "paid", clock.id),
        (START, "paid", clock.id),
    ]
    kinds = [kind for kind in account.event_types() if "test_clock" in kind]
    assert kinds == [f"test_helpers.test_clock.{name}" for name in ("created", "advancing", "ready")]


def test_a_declined_card_is_tried_again_when_the_clock_gets_there_and_not_before(account: Account) -> None:
    clock = clock_of(account)
    customer = held_customer(account, clock, "pm_card_chargeCustomerFail")
    draft = account.draft(customer.id, 900)
    account.v1.invoices.finalize_invoice(draft.id, {"auto_advance": True}, account.once())
    account.control.wait_idle()

    def attempts() -> int:
        return int(account.v1.invoices.retrieve(draft.id).attempt_count)

    assert attempts() == 1
    # The account's own clock does not move what a test clock holds.
    account.control.clock(advance=20 * DAY)
    assert attempts() == 1
    advance(account, clock, START + 2 * DAY)
    assert attempts() == 1
    advance(account, clock, START + 4 * DAY)
    assert attempts() == 2


def test_what_a_clock_holds_is_listed_for_that_clock_and_the_others_go_on(account: Account) -> None:
    clock = clock_of(account)
    held, free = account.customer(test_clock=clock.id), account.customer()
    assert [each.id for each in account.v1.customers.list().data] == [free.id]
    assert [each.id for each in account.v1.customers.list({"test_clock": clock.id}).data] == [held.id]
    assert held.created == START
    assert free.created > START
    assert [each.id for each in account.v1.test_helpers.test_clocks.list().data] == [clock.id]


def test_a_clock_goes_forwards_by_two_intervals_and_holds_three_customers(account: Account) -> None:
    clock = clock_of(account)
    month(account, held_customer(account, clock))
    clocks = account.v1.test_helpers.test_clocks
    assert "later" in refused(lambda: clocks.advance(clock.id, {"frozen_time": START}, account.refused()))
    too_far = {"frozen_time": START + 60 * DAY}
    assert "two intervals" in refused(lambda: clocks.advance(clock.id, too_far, account.refused()))
    for _ in range(2):
        account.customer(test_clock=clock.id)
    fourth = {"name": "Fourth", "test_clock": clock.id}
    assert "at most 3" in refused(lambda: account.v1.customers.create(fourth, account.refused()))


def test_nothing_that_a_clock_holds_is_changed_while_it_advances() -> None:
    state = Store(None)
    with state.transaction() as db:
        mine = opened(db, "acct_1", livemode=False, defaults={})
        advancing = {"id": "clock_1", "object": CLOCK, "created": START, "frozen_time": START, "status": "advancing"}
        customer = {"id": "cus_1", "object": "customer", "created": START, "test_clock": "clock_1"}
        invoice = {"id": "in_1", "object": "invoice", "created": START, "customer": "cus_1"}
        for doc in (advancing, customer, invoice):
            insert(db, mine.id, doc, mine.now)
        for name in ("cus_1", "in_1", "clock_1"):
            with pytest.raises(StripeError, match="underway"):
                context(db, mine, "", Cause(), [name])
            assert context(db, mine, "", Cause(), [name], changes=False).now == START
        assert context(db, mine, "", Cause(), ["cus_other"]).now > START
    state.close()


def test_a_deleted_clock_takes_its_customers_and_subscriptions_along(account: Account) -> None:
    clock = clock_of(account)
    customer = held_customer(account, clock)
    subscription = month(account, customer)
    account.v1.test_helpers.test_clocks.delete(clock.id)
    assert account.v1.customers.retrieve(customer.id).deleted is True
    assert account.v1.subscriptions.retrieve(subscription.id).status == "canceled"


def test_there_are_no_test_clocks_in_live_mode(account: Account) -> None:
    live = Account(account.sandbox, account.key.replace("sk_test_", "sk_live_"))
    clocks = live.v1.test_helpers.test_clocks
    assert "live" in refused(lambda: clocks.create({"frozen_time": START}, live.refused()))
