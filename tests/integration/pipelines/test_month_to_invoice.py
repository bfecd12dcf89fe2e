"""A month's events become invoices of the expected amounts, by way of Dagster and on the real stores."""

from datetime import UTC, datetime
from decimal import Decimal

from billing.invoice import InvoiceStatus, PaymentStatus
from tests.integration.pipelines.stage import BILLING_DAY, Stage, checks_of, metadata_of


def test_a_month_of_events_becomes_the_guides_invoice(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    stage.send(shop, 15420)
    usage = stage.roll_up()
    assert usage.success
    assert metadata_of(usage, "usage_hourly")["events, once for each meter"] == 15420
    billing = stage.bill()
    assert billing.success
    (invoice,) = stage.invoices(shop)
    # 1000 x 0.01 + 10.00 flat + 9000 x 0.008 + 5420 x 0.005
    assert (invoice.total, invoice.status, invoice.payment_status, invoice.number) == (
        Decimal("119.10"),
        InvoiceStatus.FINALIZED,
        PaymentStatus.PENDING,
        "INV-202411-00001",
    )
    (line,) = invoice.lines
    assert (line.quantity, line.price_type, line.meter_version) == (Decimal(15420), "usage", 1)
    assert [tier.amount for tier in line.breakdown] == [Decimal("20.00"), Decimal("72.000"), Decimal("27.100")]
    assert {name: check.passed for name, check in {**checks_of(usage), **checks_of(billing)}.items()} == {
        "rollup_matches_raw": True,
        "quantities_match_raw": True,
        "identities_count_once": True,
        "usage_events_are_usable": True,
        "quantities_as_expected": True,
        "totals_match_lines": True,
        "all_subscriptions_billed": True,
    }
    assert metadata_of(billing, "finalized_invoices")["total in minor units, USD"] == 11910
    assert metadata_of(billing, "stripe_invoices")["skipped"] == 1
    assert invoice.watermark is not None
    assert invoice.period.end == datetime(BILLING_DAY.year, BILLING_DAY.month, BILLING_DAY.day, tzinfo=UTC)
