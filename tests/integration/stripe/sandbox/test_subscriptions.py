"""Subscriptions invoice their items period by period, so that a test sees whether one is billed at Stripe as well."""

from typing import Any

import pytest
import stripe

from tests.integration.stripe.sandbox.conftest import Account

DAY = 86400


def product(account: Account) -> str:
    return str(account.v1.products.create({"name": "Pro"}, account.once()).id)


def subscribed(account: Account, customer: str, unit_amount: int = 1000, **params: Any) -> Any:
    monthly = {"currency": "usd", "product": product(account), "recurring": {"interval": "month"}}
    item = {"price_data": {**monthly, "unit_amount": unit_amount}}
    return account.v1.subscriptions.create({"customer": customer, "items": [item], **params}, account.once())


def invoices(account: Account) -> list[tuple[str, int, str]]:
    account.control.wait_idle()
    found = account.v1.invoices.list({"limit": 100}).data
    return [(invoice.billing_reason, invoice.total, invoice.status) for invoice in reversed(found)]


def months_later(account: Account, months: int = 1) -> None:
    for _ in range(months):
        account.control.clock(advance=31 * DAY)
        account.control.wait_idle()


def test_a_subscription_bills_each_period_once_at_its_start(account: Account) -> None:
    customer = account.customer_with_card()
    made = subscribed(account, customer.id)
    item = made["items"].data[0]
    assert (made.status, item.price.unit_amount, item.current_period_start) == ("active", 1000, made.created)
    assert 28 * DAY <= item.current_period_end - item.current_period_start <= 31 * DAY
    months_later(account, 2)
    assert invoices(account) == [
        ("subscription_create", 1000, "paid"),
        ("subscription_cycle", 1000, "paid"),
        ("subscription_cycle", 1000, "paid"),
    ]
    assert [charge.amount for charge in account.v1.charges.list({}).data] == [1000] * 3
    line = account.v1.invoices.list({"limit": 1, "expand": ["data.parent.subscription_details.subscription"]}).data[0]
    assert line.parent.subscription_details.subscription.id == made.id


def test_items_of_zero_and_a_first_period_up_to_an_anchor_charge_nothing(account: Account) -> None:
    customer = account.customer_with_card()
    now = int(account.control.clock()["now"])
    subscribed(
        account,
        customer.id,
        0,
        billing_cycle_anchor=now + 10 * DAY,
        backdate_start_date=now - 20 * DAY,
        proration_behavior="none",
    )
    months_later(account, 2)
    assert {(total, status) for _, total, status in invoices(account)} == {(0, "paid")}
    assert account.v1.charges.list({}).data == []


def test_a_pause_voids_what_would_be_collected_and_ends_by_itself(account: Account) -> None:
    made = subscribed(account, account.customer_with_card().id)
    resumes = made["items"].data[0].current_period_end + DAY
    pause = {"pause_collection": {"behavior": "void", "resumes_at": resumes}}
    assert account.v1.subscriptions.update(made.id, pause, account.once()).pause_collection.behavior == "void"
    months_later(account, 2)
    assert [status for _, _, status in invoices(account)] == ["paid", "void", "paid"]
    assert account.v1.subscriptions.retrieve(made.id).pause_collection is None


def test_a_planned_end_comes_and_can_be_taken_back_before(account: Account) -> None:
    made = subscribed(account, account.customer_with_card().id)
    end = made["items"].data[0].current_period_end
    planned = account.v1.subscriptions.update(made.id, {"cancel_at_period_end": True}, account.once())
    assert (planned.cancel_at, planned.cancel_at_period_end, planned.status) == (end, True, "active")
    assert account.v1.subscriptions.update(made.id, {"cancel_at": ""}, account.once()).cancel_at is None
    account.v1.subscriptions.update(made.id, {"cancel_at": end - DAY}, account.once())
    months_later(account)
    over = account.v1.subscriptions.retrieve(made.id)
    assert (over.status, over.ended_at) == ("canceled", end - DAY)
    assert len(invoices(account)) == 1
    assert account.event_types(type="customer.subscription.deleted") == ["customer.subscription.deleted"]


def test_what_is_cancelled_is_listed_only_when_asked_for_and_cannot_be_revived(account: Account) -> None:
    made = subscribed(account, account.customer().id)
    account.v1.subscriptions.cancel(made.id, {})
    assert account.v1.subscriptions.list({}).data == []
    assert [each.id for each in account.v1.subscriptions.list({"status": "all"}).data] == [made.id]
    with pytest.raises(stripe.InvalidRequestError, match="can only update"):
        account.v1.subscriptions.update(made.id, {"pause_collection": ""}, account.once())
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription"):
        account.v1.subscriptions.cancel(made.id, {})


def test_the_item_may_change_its_product_and_a_deleted_customers_subscriptions_end(account: Account) -> None:
    customer = account.customer()
    made = subscribed(account, customer.id, 0)
    other = product(account)
    price = {"currency": "usd", "product": other, "unit_amount": 0, "recurring": {"interval": "month"}}
    change = {"items": [{"id": made["items"].data[0].id, "price_data": price}], "proration_behavior": "none"}
    changed = account.v1.subscriptions.update(made.id, change, account.once())
    assert [item.price.product for item in changed["items"].data] == [other]
    account.v1.customers.delete(customer.id)
    assert account.v1.subscriptions.retrieve(made.id).status == "canceled"


def test_prices_come_per_unit_per_package_and_in_tiers(account: Account) -> None:
    base = {"currency": "usd", "product": product(account), "recurring": {"interval": "month", "interval_count": 3}}
    package = {**base, "unit_amount": 500, "transform_quantity": {"divide_by": 1000, "round": "up"}}
    made = account.v1.prices.create(package, account.once())
    assert (made.transform_quantity.divide_by, made.recurring.interval_count) == (1000, 3)
    tiers: list[Any] = [{"up_to": 1000, "unit_amount_decimal": "0.5", "flat_amount": 1000}]
    tiers.append({"up_to": "inf", "unit_amount": 0})
    tiered = {**base, "billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": tiers}
    found = account.v1.prices.create({**tiered, "expand": ["tiers"]}, account.once())
    assert [(tier.up_to, tier.flat_amount, tier.unit_amount) for tier in found.tiers] == [
        (1000, 1000, None),
        (None, None, 0),
    ]
    assert "tiers" not in account.v1.prices.retrieve(found.id).to_dict()
    for spoilt in ({"tiers": tiers[:1]}, {"tiers_mode": None}, {"unit_amount": 5}, {"tiers": tiers[::-1]}):
        with pytest.raises(stripe.InvalidRequestError):
            account.v1.prices.create({**tiered, **spoilt}, account.refused())
