"""What holds an invoice holds that invoice, says why, and lets the others go (M6)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import update

from billing.errors import Conflict, GateFailed
from billing.invoice import InvoiceStatus
from ledger.models import Subscription
from ledger.store import audit
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.assets.daily import CODE_VERSION
from pipelines.day_range import partition_tags, window_of_tags
from pipelines.schedules import override_failed_gate
from pipelines.steps.collect_quantities import collect_quantities
from pipelines.steps.draft_invoices import draft_invoices
from pipelines.steps.expected_quantities import EXPECTED, Expected
from pipelines.steps.finalize_invoice import finalize_invoice
from pipelines.steps.finalize_invoices import Finalized, finalize_invoices
from pipelines.steps.gate_invoices import Gate
from pipelines.steps.gate_quantities import gate_quantities
from pipelines.steps.gate_totals import gate_totals
from pipelines.steps.override_gate import Override, gates_of, override_gate
from pipelines.steps.price_invoices import price_invoices
from tests.integration.pipelines.stage import BILLING, BILLING_DAY, Shop, Stage, checks_of, metadata_of


@contextmanager
def doubled_rollups(stage: Stage, shop: Shop, customer: str) -> Iterator[None]:
    """Usage that no event is behind, as a fault in a build would leave it; building again mends it."""
    of_customer = f"tenant_id = '{shop.scope.tenant_id}' AND customer_id = '{customer}'"
    stage.roll_up_by_steps()
    for rollup in ("usage_hourly", "usage_daily"):
        double = f"INSERT INTO {rollup} SELECT * FROM {rollup} WHERE {of_customer}"  # noqa: S608 - ids of the test
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
    assert "recorded 200 from 200 events, the events say 100 from 100" in str(reasons)
    stage.bill_by_steps()
    assert [invoice.total for invoice in stage.invoices(shop, bad)] == [Decimal("11.00")]


def test_M6_when_no_invoice_passes_each_is_a_priced_draft_that_no_later_run_alone_can_finalize(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop, "bad")
    stage.send(shop, 100, "bad")
    with doubled_rollups(stage, shop, "bad"):
        billing = stage.bill()
    check = checks_of(billing)["quantities_match_raw"]
    assert (check.passed, check.severity.value) == (False, "WARN")
    assert stage.run(BILLING[2:5], BILLING_DAY).success
    (invoice,) = stage.invoices(shop)
    assert (invoice.status, invoice.total) == (InvoiceStatus.DRAFT, Decimal("12.00"))


def test_the_only_invoice_of_a_day_that_a_gate_refuses_can_be_overridden(stage: Stage) -> None:
    shop = stage.shop(aggregation="sum")
    stage.subscribe(shop)
    stage.send(shop, 3, tokens="5")
    stage.send(shop, 1, first=3, tokens="none")
    assert stage.bill().success
    (held,) = stage.invoices(shop)
    by_dana = Override("Dana Smith", "the sender is broken", "test")
    override_gate(stage.ledger, shop.scope, held.id, Gate.EVENTS_ARE_USABLE, by_dana, stage.now)
    assert stage.bill().success
    assert [invoice.status for invoice in stage.invoices(shop)] == [InvoiceStatus.FINALIZED]


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
    overridden = override_failed_gate.execute_in_process(
        run_config={
            "ops": {
                "override": {
                    "config": {
                        "tenant_id": shop.scope.tenant_id,
                        "environment_id": shop.scope.environment_id,
                        "invoice_id": held.id,
                        "gate": "usage_events_are_usable",
                        "person": "Dana Smith",
                        "reason": "agreed with the customer",
                    }
                }
            }
        },
        resources={"tally": stage.tally},
    )
    assert overridden.success
    stage.now += timedelta(hours=1)
    stage.bill_by_steps()
    (final,) = stage.invoices(shop, bad)
    assert (final.status, final.total) == (InvoiceStatus.FINALIZED, Decimal("7.50"))
    with stage.ledger.read() as session:
        actions = [entry.action for entry in audit.list_entries(session, shop.scope, entity_id=final.id).items]
    assert actions == ["invoice.finalized", "invoice.gate_overridden"]


DECISION = Override("Dana Smith", "a load test, ticket 4711", "key_1")


def billed_months(stage: Stage, shop: Shop, requests: Sequence[int]) -> SubscriptionRecord:
    """A customer since July with so many requests in each month up to October, the months before it billed."""
    subscription = stage.subscribe(shop, start_date=datetime(2024, 7, 1, tzinfo=UTC))
    october = stage.now
    for number, count in enumerate(requests):
        stage.send(shop, count, first=1000 * number, at=datetime(2024, 7 + number, 15, tzinfo=UTC))
    for month in (8, 9, 10):
        stage.now = datetime(2024, month, 1, 2, tzinfo=UTC)
        bill_steps(stage, stage.now.date())
    stage.now = october
    return subscription


def bill_steps(stage: Stage, day: date, expected: Expected = EXPECTED) -> Finalized:
    start, end = window_of_tags(partition_tags(day, day))
    collect_quantities(stage.ledger, stage.warehouse, start, end, stage.now)
    gate_quantities(stage.ledger, stage.warehouse, start, end, stage.now, expected=expected)
    draft_invoices(stage.ledger, start, end, stage.now)
    price_invoices(stage.ledger, start, end, stage.now, CODE_VERSION)
    gate_totals(stage.ledger, start, end, stage.now)
    return finalize_invoices(stage.ledger, start, end, stage.now)


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        ([120, 100, 110, 1100], "1100, and 110 in the periods before: a jump of 10 times or more"),
        ([120, 100, 110, 11], "11, and 110 in the periods before: a drop to a part of 10 or less"),
        ([120, 100, 110, 0], "0, and 110 in the periods before: a drop to a part of 10 or less"),
        ([120, 100, 110, 1099], None),
        ([120, 100, 110, 12], None),
        ([9, 9, 9, 90], None),
    ],
    ids=["jump", "drop", "to nothing", "large", "small", "few events"],
)
def test_a_quantity_out_of_the_ordinary_holds_its_invoice(stage: Stage, requests: list[int], said: str | None) -> None:
    billed_months(stage, stage.shop(), requests)
    done = bill_steps(stage, BILLING_DAY)
    assert [said in "; ".join(held.reasons) for held in done.held if said] == ([] if said is None else [True])
    assert len(done.invoices) == (1 if said is None else 0)


def test_thresholds_can_be_turned_off(stage: Stage) -> None:
    billed_months(stage, stage.shop(), [120, 100, 110, 1100])
    assert len(bill_steps(stage, BILLING_DAY, Expected(jump=Decimal(0))).invoices) == 1


def test_M6_a_named_person_overrides_exactly_what_a_gate_has_found(stage: Stage) -> None:
    shop = stage.shop()
    subscription = billed_months(stage, shop, [120, 100, 110, 1100])
    (held,) = bill_steps(stage, BILLING_DAY).held
    with pytest.raises(Conflict, match="does not hold"):
        override_gate(stage.ledger, shop.scope, held.invoice_id, Gate.TOTALS_MATCH_LINES, DECISION, stage.now)
    override_gate(stage.ledger, shop.scope, held.invoice_id, Gate.AS_EXPECTED, DECISION, stage.now)
    # One more request is another quantity, which nobody has decided about.
    stage.send(shop, 1, first=9000, at=datetime(2024, 10, 16, tzinfo=UTC))
    assert len(bill_steps(stage, BILLING_DAY).held) == 1
    override_gate(stage.ledger, shop.scope, held.invoice_id, Gate.AS_EXPECTED, DECISION, stage.now)
    (final,) = bill_steps(stage, BILLING_DAY).invoices
    assert final[1].subscription_id == subscription.id
    with stage.ledger.read() as session:
        (finalized, second, first) = audit.list_entries(session, shop.scope, entity_id=held.invoice_id).items
        results = {found.gate: found for found in gates_of(session, shop.scope, held.invoice_id)}
    assert (finalized.action, second.action, first.action) == ("invoice.finalized", *["invoice.gate_overridden"] * 2)
    assert (first.actor, first.detail["person"], first.detail["reason"], len(first.detail["problems"])) == (
        "key_1",
        "Dana Smith",
        "a load test, ticket 4711",
        1,
    )
    assert results["quantities_as_expected"].detail["overridden_by"] == "Dana Smith"
    with pytest.raises(Conflict, match="finalized"):
        override_gate(stage.ledger, shop.scope, held.invoice_id, Gate.AS_EXPECTED, DECISION, stage.now)


def test_an_overridden_invoice_is_finalized_on_request(stage: Stage) -> None:
    shop = stage.shop()
    billed_months(stage, shop, [120, 100, 110, 1100])
    (held,) = bill_steps(stage, BILLING_DAY).held
    with pytest.raises(GateFailed, match="a jump of 10 times"):
        finalize_invoice(stage.ledger, shop.scope, held.invoice_id, "key_1", stage.now)
    override_gate(stage.ledger, shop.scope, held.invoice_id, Gate.AS_EXPECTED, DECISION, stage.now)
    assert finalize_invoice(stage.ledger, shop.scope, held.invoice_id, "key_1", stage.now).number is not None


def test_one_tenants_broken_subscription_is_listed_and_stops_no_other(stage: Stage) -> None:
    broken, sound = stage.shop("Broken"), stage.shop("Sound")
    bad, good = stage.subscribe(broken), stage.subscribe(sound)
    stage.send(sound, 100)
    with stage.ledger.begin() as session:
        session.execute(update(Subscription).where(Subscription.id == bad.id).values(timezone="Nowhere/Town"))
    billing = stage.bill()
    assert billing.success
    assert metadata_of(billing, "billable_quantities")["failed"] == 1
    assert bad.id in str(metadata_of(billing, "billable_quantities")["failures"])
    assert not checks_of(billing)["all_subscriptions_billed"].passed
    assert [invoice.total for invoice in stage.invoices(sound, good)] == [Decimal("11.00")]
    assert stage.invoices(broken) == []
