"""A month of events under a coupon, a tax and credit: foreseen, billed, and made again to the byte."""

from decimal import Decimal

from billing.adjustments.coupon import CouponTerms, Duration
from billing.invoice import InvoiceStatus
from ledger.store import coupons, credit_grants, customers, tax_rates
from ledger.store.credit_grants import NewGrant
from pipelines.steps.give_coupon import NewDiscount, give_coupon
from pipelines.steps.recompute_invoice import recompute_invoice
from pipelines.steps.upcoming_invoice import upcoming_invoice
from tests.integration.pipelines.stage import GUIDE_PRICE, OCTOBER, SET_UP, Stage


def test_M3_a_month_with_coupon_tax_and_credit_is_foreseen_billed_and_made_again(stage: Stage) -> None:
    shop = stage.shop(prices=[GUIDE_PRICE, {"pricing_model": "flat", "amount": "31.00"}])
    subscription = stage.subscribe(shop)
    with stage.ledger.begin() as session:
        vat = tax_rates.create_tax_rate(
            session, shop.scope, name="VAT", percentage=Decimal(19), inclusive=False, now=SET_UP
        )
        customers.update_customer(session, shop.scope, subscription.customer_id, {"tax_rate_ids": [vat.id]})
        terms = CouponTerms(Decimal(10), None, None, Duration.ONCE)
        coupons.create_coupon(session, shop.scope, code="TEN", name="Ten off", terms=terms, now=SET_UP)
        wanted = NewDiscount("TEN", subscription_id=subscription.id)
        give_coupon(session, shop.scope, wanted, "key_1", SET_UP)
        gift = NewGrant(Decimal(60), "USD", "promotional")
        credit_grants.grant(session, shop.scope, subscription.customer_id, gift, SET_UP)
    stage.send(shop, 15420)
    upcoming = upcoming_invoice(
        stage.ledger, stage.warehouse, shop.scope, subscription.id, OCTOBER[1].replace(month=10, day=31)
    )
    # 119.10 by the guide and 31.00: 150.10, less 15.01 is 135.09, and 19 % of it 25.67.
    foreseen = (upcoming.adjusted.subtotal, upcoming.adjusted.discount_total, upcoming.adjusted.tax_total)
    assert foreseen == (Decimal("150.10"), Decimal("15.01"), Decimal("25.67"))
    assert (upcoming.total, upcoming.credits_forecast) == (Decimal("160.76"), Decimal("60.00"))

    stage.roll_up_by_steps()
    stage.bill_by_steps()
    (invoice,) = stage.invoices(shop)
    assert invoice.status == InvoiceStatus.FINALIZED
    assert (invoice.total, invoice.credits_applied, invoice.amount_due) == (
        Decimal("160.76"),
        Decimal("60.00"),
        Decimal("100.76"),
    )
    assert [(line.amount, line.discount, line.tax) for line in invoice.lines] == [
        (line.amount, line.discount, line.tax) for line in upcoming.lines
    ]
    again = recompute_invoice(stage.ledger, stage.warehouse, shop.scope, invoice.id, stage.now)
    assert (again.same, again.reasons) == (True, ())
    assert again.content_hash == again.recomputed_content_hash
