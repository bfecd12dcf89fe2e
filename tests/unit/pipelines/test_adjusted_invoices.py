"""Discounts, taxes and credits from the customer to the finalized invoice, on a real ledger."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billing.adjustments.coupon import CouponTerms, Duration
from billing.errors import Conflict
from billing.invoice import InvoiceStatus
from billing.one_off import OneOffItem
from ledger.db import Ledger
from ledger.store import coupons, customers, invoices, tax_rates
from ledger.store.discounts import DiscountRecord
from pipelines.steps.draft_invoices import draft_invoices
from pipelines.steps.facts import Facts
from pipelines.steps.finalize_invoices import finalize_invoices
from pipelines.steps.gate_totals import gate_totals
from pipelines.steps.give_coupon import NewDiscount, end_discount, give_coupon
from pipelines.steps.invoice_terms import terms_of
from pipelines.steps.one_off_invoice import NewOneOff, create_one_off
from pipelines.steps.plan_prices import Catalog
from pipelines.steps.price_invoices import price_invoices
from tests.support.at_once import in_threads
from tests.support.ledger_rows import FEBRUARY, a_customer, a_subscription
from tests.unit.pipelines.test_invoice_steps import BILLING_DAY, NOW, Shop, bill

EARLY = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def shop(ledger: Ledger) -> Shop:
    return Shop(ledger)


def a_coupon(shop: Shop, duration: Duration = Duration.ONCE, percent: str = "20", **more: object) -> str:
    with shop.ledger.begin() as session:
        terms = CouponTerms(Decimal(percent), None, None, duration, 2 if duration is Duration.REPEATING else None)
        made = coupons.create_coupon(
            session, shop.scope, code=f"{duration}{percent}", name="Off", terms=terms, now=EARLY, **more
        )
    return made.id


def give(shop: Shop, coupon_id: str, subscription_id: str, **more: object) -> DiscountRecord:
    with shop.ledger.begin() as session:
        wanted = NewDiscount(coupon_id, subscription_id=subscription_id, starts_at=EARLY, **more)
        return give_coupon(session, shop.scope, wanted, "key_1", EARLY)


def drafted(shop: Shop) -> None:
    draft_invoices(shop.ledger, *BILLING_DAY, NOW)
    price_invoices(shop.ledger, *BILLING_DAY, NOW, "1.0")


def test_M3_a_discount_and_a_tax_of_the_customer_are_on_the_invoice_and_billing_again_changes_nothing(
    shop: Shop,
) -> None:
    subscription = shop.subscribe()
    shop.record(subscription.id, 15420)
    with shop.ledger.begin() as session:
        vat = tax_rates.create_tax_rate(
            session, shop.scope, name="VAT", percentage=Decimal(19), inclusive=False, now=NOW
        )
        customers.update_customer(session, shop.scope, subscription.customer_id, {"tax_rate_ids": [vat.id]})
    give(shop, a_coupon(shop), subscription.id)
    bill(shop.ledger)
    invoice = shop.invoice(subscription.id)
    # 164.20 less 32.84 is 131.36; 19 % of it are 24.96.
    assert (str(invoice.discount_total), str(invoice.tax_total), str(invoice.total)) == ("32.84", "24.96", "156.32")
    assert [(str(line.discount), str(line.tax)) for line in invoice.lines] == [("2.00", "1.52"), ("30.84", "23.44")]
    assert invoice.status == InvoiceStatus.FINALIZED
    assert bill(shop.ledger).invoices == ()
    assert shop.invoice(subscription.id) == invoice


def test_M6_a_discount_that_changed_after_pricing_holds_the_invoice_until_it_is_priced_again(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.record(subscription.id, 100)
    discount = give(shop, a_coupon(shop, Duration.FOREVER), subscription.id)
    drafted(shop)
    gate_totals(shop.ledger, *BILLING_DAY, NOW)
    with shop.ledger.begin() as session:
        end_discount(session, shop.scope, discount.id, "key_1", datetime(2026, 1, 20, tzinfo=UTC))
    (held,) = finalize_invoices(shop.ledger, *BILLING_DAY, NOW).held
    assert held.reasons == ("the discounts or taxes have changed since the draft was priced",)
    bill(shop.ledger)
    invoice = shop.invoice(subscription.id)
    assert (invoice.status, str(invoice.total)) == (InvoiceStatus.FINALIZED, "11.00")


def test_a_coupon_that_counts_once_for_a_customer_takes_it_off_one_invoice(shop: Shop) -> None:
    with shop.ledger.begin() as session:
        customer = a_customer(session, shop.scope)
        both = [a_subscription(session, shop.scope, customer_id=customer.id, plan_id=shop.plan.id) for _ in range(2)]
    for subscription in both:
        shop.record(subscription.id, 100)
    coupon_id = a_coupon(shop)
    with shop.ledger.begin() as session:
        wanted = NewDiscount(coupon_id, customer_id=customer.id, starts_at=EARLY)
        give_coupon(session, shop.scope, wanted, "key_1", EARLY)
    bill(shop.ledger)
    billed = [shop.invoice(subscription.id) for subscription in both]
    assert {invoice.status for invoice in billed} == {InvoiceStatus.FINALIZED}
    assert sorted(str(invoice.discount_total) for invoice in billed) == ["0.00", "2.20"]


def test_a_void_invoice_uses_up_no_coupon(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.record(subscription.id, 100)
    give(shop, a_coupon(shop), subscription.id)
    bill(shop.ledger)
    first = shop.invoice(subscription.id)
    with shop.ledger.begin() as session:
        invoices.void(session, shop.scope, first.id, NOW)
        draft = invoices.ensure_draft(session, shop.scope, subscription, FEBRUARY, NOW)
        assert [terms.name for terms in terms_of(Facts(session, shop.scope, Catalog()), draft).discounts] == ["Off"]


def test_a_repeating_coupon_counts_by_period_in_whatever_order_they_are_priced(shop: Shop) -> None:
    subscription = shop.subscribe()
    give(shop, a_coupon(shop, Duration.REPEATING), subscription.id)
    with shop.ledger.begin() as session:
        schedule = subscription.schedule()
        counted = []
        for month in (4, 2, 1, 3):
            period = schedule.period_at(datetime(2026, month, 15, tzinfo=UTC))
            draft = invoices.ensure_draft(session, shop.scope, subscription, period, NOW)
            counted.append((month, len(terms_of(Facts(session, shop.scope, Catalog()), draft).discounts)))
    assert counted == [(4, 0), (2, 1), (1, 1), (3, 0)]


def test_an_invoice_that_is_made_by_hand_takes_no_coupon(shop: Shop) -> None:
    subscription = shop.subscribe()
    give(shop, a_coupon(shop, Duration.FOREVER), subscription.id)
    with shop.ledger.begin() as session:
        wanted = NewOneOff("acme", [OneOffItem("Onboarding", amount=Decimal(10))], "USD")
        assert str(create_one_off(session, shop.scope, wanted, "key_1", NOW).total) == "10.00"


def test_the_last_redemption_of_a_coupon_goes_to_one_of_two_who_want_it_at_once(shop: Shop) -> None:
    subscriptions = [shop.subscribe(name) for name in ("one", "two")]
    coupon_id = a_coupon(shop, max_redemptions=1)

    def redeem(subscription_id: str) -> str:
        try:
            return give(shop, coupon_id, subscription_id).id[:5]
        except Conflict as error:
            return error.code

    assert sorted(in_threads([lambda it=it: redeem(it.id) for it in subscriptions])) == ["coupon_used_up", "disc_"]
