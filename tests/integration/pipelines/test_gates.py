"""What holds an invoice holds that invoice, says why, and lets the others go (M6)."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal

from sqlalchemy import update

from billing.invoice import InvoiceStatus
from ledger.models import Subscription
from ledger.store import audit
from pipelines.schedules import accept_unusable
from tests.integration.pipelines.stage import BILLING, BILLING_DAY, Shop, Stage, checks_of, metadata_of


@contextmanager
def doubled_rollups(stage: Stage, shop: Shop, customer: str) -> Iterator[None]:
    """Usage that no event is behind, as a fault in a build would leave it; building again mends it."""
    of_customer = f"tenant_id = '{shop.scope.tenant_id}' AND customer_id = '{customer}'"
    double = f"INSERT INTO usage_hourly SELECT * FROM usage_hourly WHERE {of_customer}"  # noqa: S608 - ids of the test
    stage.roll_up_by_steps()
    stage.warehouse.statement(double, "test/double_the_rollups")
    try:
        yield
    finally:
        stage.roll_up_by_steps(force=True)


def test_M6_an_invoice_whose_rollups_are_wrong_is_held_and_the_others_are_final(stage: Stage) -> None:
    shop = stage.shop()
    bad, good = stage.subscribe(shop, "bad"), stage.subscribe(shop, "good")
    stage.send(shop, 100, "bad")
    stage.send(shop, 200, "good")
    with doubled_rollups(stage, shop, "bad"):
        billing = stage.bill()
    assert billing.success
    (held,), (final,) = stage.invoices(shop, bad), stage.invoices(shop, good)
    assert (held.status, held.number) == (InvoiceStatus.DRAFT, None)
    assert (final.status, final.total) == (InvoiceStatus.FINALIZED, Decimal("12.00"))
    checks = checks_of(billing)
    assert (checks["quantities_match_raw"].passed, checks["quantities_match_raw"].severity.value) == (False, "WARN")
    assert not checks["all_subscriptions_billed"].passed
    reasons = metadata_of(billing, "finalized_invoices")["held back"]
    assert "recorded 200 from 200 events, the events say 100 from 100" in reasons
    stage.bill_by_steps()
    assert [invoice.total for invoice in stage.invoices(shop, bad)] == [Decimal("11.00")]


def test_M6_when_no_invoice_passes_the_run_is_blocked_and_a_later_run_alone_cannot_finalize(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop, "bad")
    stage.send(shop, 100, "bad")
    with doubled_rollups(stage, shop, "bad"):
        billing = stage.bill()
    assert not billing.success
    assert checks_of(billing)["quantities_match_raw"].severity.value == "ERROR"
    assert stage.run(BILLING[1:4], BILLING_DAY).success
    (invoice,) = stage.invoices(shop)
    assert invoice.status == InvoiceStatus.DRAFT


def test_a_wrong_rollup_is_found_by_its_own_check(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    stage.send(shop, 100)
    with doubled_rollups(stage, shop, "acme_corp_001"):
        run = stage.compare_rollups()
    assert not run.success
    assert not checks_of(run)["rollup_matches_raw"].passed


def test_U3_unusable_events_hold_their_invoice_until_somebody_accepts_them(stage: Stage) -> None:
    shop = stage.shop(prices=[{"pricing_model": "per_unit", "unit_price": "0.5"}], aggregation="sum")
    bad, good = stage.subscribe(shop, "bad"), stage.subscribe(shop, "good")
    stage.send(shop, 10, "bad", tokens="1.5")
    stage.send(shop, 3, "bad", first=10, tokens="a lot")
    stage.send(shop, 10, "good", tokens="1.5")
    billing = stage.bill()
    assert not checks_of(billing)["usage_events_are_usable"].passed
    assert stage.invoices(shop, good)[0].total == Decimal("7.50")
    (held,) = stage.invoices(shop, bad)
    assert held.status == InvoiceStatus.DRAFT
    accepted = accept_unusable.execute_in_process(
        run_config={
            "ops": {
                "accept_events": {
                    "config": {
                        "tenant_id": shop.scope.tenant_id,
                        "environment_id": shop.scope.environment_id,
                        "invoice_id": held.id,
                        "reason": "agreed with the customer",
                    }
                }
            }
        },
        resources={"tally": stage.tally},
    )
    assert accepted.success
    stage.now += timedelta(hours=1)
    stage.bill_by_steps()
    (final,) = stage.invoices(shop, bad)
    assert (final.status, final.total) == (InvoiceStatus.FINALIZED, Decimal("7.50"))
    with stage.ledger.read() as session:
        actions = [entry.action for entry in audit.list_entries(session, shop.scope, entity_id=final.id).items]
    assert actions == ["invoice.finalized", "invoice.unusable_events_accepted"]


def test_one_tenants_broken_subscription_is_listed_and_stops_no_other(stage: Stage) -> None:
    broken, sound = stage.shop("Broken"), stage.shop("Sound")
    bad, good = stage.subscribe(broken), stage.subscribe(sound)
    stage.send(sound, 100)
    with stage.ledger.begin() as session:
        session.execute(update(Subscription).where(Subscription.id == bad.id).values(timezone="Nowhere/Town"))
    billing = stage.bill()
    assert billing.success
    assert metadata_of(billing, "billable_quantities")["failed"] == 1
    assert bad.id.replace("_", "\\_") in metadata_of(billing, "billable_quantities")["failures"]
    assert not checks_of(billing)["all_subscriptions_billed"].passed
    assert [invoice.total for invoice in stage.invoices(sound, good)] == [Decimal("11.00")]
    assert stage.invoices(broken) == []
