"""What becomes of a subscription is on its invoices: changes of plan, seats, pauses, trials, from real events."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from billing.invoice import InvoiceStatus
from billing.price import parse_price
from billing.subscription import ChangeKind
from ledger.store import features, plans, subscriptions
from ledger.store.invoices import InvoiceRecord
from ledger.store.plans import PlanRecord
from ledger.store.subscription_changes import NewChange
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps.explain_line import explain_line
from pipelines.steps.recompute_invoice import recompute_invoice
from tests.integration.pipelines.stage import SET_UP, Shop, Stage

FLAT: Mapping[str, Any] = {"pricing_model": "flat", "amount": "31.00"}
TIERS: Mapping[str, Any] = {
    "pricing_model": "tiered",
    "tiers": [{"up_to": 1000, "unit_price": "0.01", "flat_fee": "10.00"}, {"up_to": None, "unit_price": "0.005"}],
}
DEAR: Mapping[str, Any] = {**TIERS, "tiers": [{**TIERS["tiers"][0], "unit_price": "0.02"}, TIERS["tiers"][1]]}


def october(day: int, hour: int = 0) -> datetime:
    return datetime(2024, 10, day, hour, tzinfo=UTC)


def a_further_plan(stage: Stage, shop: Shop, *prices: Mapping[str, Any], key: str = "pro", **other: Any) -> PlanRecord:
    """A monthly plan of prices for the shop's feature."""
    with stage.ledger.begin() as session:
        feature = features.get_feature(session, shop.scope, "api_calls").id
        new = [
            plans.NewPrice(None if price["pricing_model"] == "flat" else feature, key.title(), parse_price(price))
            for price in prices
        ]
        return plans.create_plan(session, shop.scope, name=key.title(), key=key, billing_period="monthly",
                                 interval="P1M", currency="USD", prices=new, now=SET_UP, **other)  # fmt: skip


def change(stage: Stage, shop: Shop, subscription: SubscriptionRecord, *changes: NewChange) -> SubscriptionRecord:
    with stage.ledger.begin() as session:
        held = subscriptions.hold_subscription(session, shop.scope, subscription.id)
        return subscriptions.change_subscription(session, shop.scope, held, changes, "key_1", SET_UP)


def billed(stage: Stage, shop: Shop, first: date = date(2024, 11, 1)) -> InvoiceRecord:
    """October's invoice, final; made again it is the same to the byte, and billing again writes nothing."""
    held = stage.bill_by_steps(first)
    assert (held.held, held.failures) == ((), ())
    (invoice,) = stage.invoices(shop)
    assert invoice.status is InvoiceStatus.FINALIZED
    stage.bill_by_steps(first)
    assert stage.invoices(shop) == [invoice]
    again = recompute_invoice(stage.ledger, stage.warehouse, shop.scope, invoice.id, stage.now)
    assert (again.same, again.again) == (True, invoice)
    return invoice


def lines(invoice: InvoiceRecord) -> list[tuple[int, int, Decimal, Decimal]]:
    return [(line.period.start.day, line.period.end.day, line.quantity, line.amount) for line in invoice.lines]


def of(*rows: tuple[int, int, str, str]) -> Sequence[tuple[int, int, Decimal, Decimal]]:
    return [(start, end, Decimal(quantity), Decimal(amount)) for start, end, quantity, amount in rows]


@pytest.mark.parametrize(
    ("progress", "second"),
    [
        # 700 at 0.02 and the fee of the first tier again.
        pytest.param("reset", "24.00", id="the new plan begins in its first tier"),
        # 900 of the first 1000 have been used: 100 at 0.02, 600 at 0.005; the fee was paid.
        pytest.param("continue", "5.00", id="the new plan goes on where the usage has got to"),
    ],
)
def test_a_change_of_plan_splits_the_usage_at_its_moment(stage: Stage, progress: str, second: str) -> None:
    shop = stage.shop(prices=[TIERS])
    pro = a_further_plan(stage, shop, FLAT, DEAR, tier_progress=progress)
    subscription = stage.subscribe(shop)
    stage.send(shop, 900, at=october(11, 11))
    stage.send(shop, 700, first=900, at=october(11, 12))
    change(stage, shop, subscription, NewChange(ChangeKind.PLAN_CHANGED, october(11, 12), {"plan_id": pro.id}))
    stage.roll_up_by_steps()
    invoice = billed(stage, shop)
    # 31.00 for 20.5 of 31 days.
    assert lines(invoice) == of((1, 11, "900", "19.00"), (11, 1, "1", "20.50"), (11, 1, "700", second))
    if progress == "continue":
        text = explain_line(stage.ledger, shop.scope, invoice.id, invoice.lines[2].id).text
        assert text == (
            "metered: 700\n"
            "after 900 that the period had before: what these add\n"
            "graduated, up to 1000: 100 x 0.02 = 2\n"
            "graduated, above 1000: 600 x 0.005 = 3\n"
            "sum: 5\n"
            "rounded to 2 decimals: 5.00 USD\n"
            "total: 5.00 USD"
        )


def test_paused_time_is_free_and_the_price_goes_on_after_it_as_if_there_had_been_none(stage: Stage) -> None:
    shop = stage.shop(prices=[{**TIERS, "minimum_amount": "15.00"}])
    subscription = stage.subscribe(shop)
    for first, day in ((0, 5), (600, 15), (1200, 25)):
        stage.send(shop, 600, first=first, at=october(day))
    pause = NewChange(ChangeKind.PAUSED, october(11)), NewChange(ChangeKind.RESUMED, october(21))
    change(stage, shop, subscription, *pause)
    invoice = billed(stage, shop)
    # 600 at 0.01 and 10.00; then 400 at 0.01 and 200 at 0.005, the fee was paid.
    assert lines(invoice) == of((1, 11, "600", "16.00"), (21, 1, "600", "5.00"))
    price_id = invoice.lines[0].price_id
    assert [line.key for line in invoice.lines] == [
        f"{price_id}@2024-10-01T00:00:00Z",
        f"{price_id}@2024-10-21T00:00:00Z",
    ]


def test_a_period_in_which_nothing_is_billed_has_its_invoice_and_owes_nothing(stage: Stage) -> None:
    shop = stage.shop(prices=[TIERS])
    stage.subscribe(shop, trial_end=datetime(2024, 11, 15, tzinfo=UTC))
    stage.send(shop, 100)
    invoice = billed(stage, shop)
    assert (invoice.lines, invoice.total, invoice.payment_status) == ((), Decimal("0.00"), "paid")


def test_seats_multiply_a_flat_price_for_the_share_of_each_segment_and_cut_no_other_line(stage: Stage) -> None:
    shop = stage.shop(prices=[{"pricing_model": "per_unit", "unit_price": "0.01"}])
    team = a_further_plan(stage, shop, FLAT, TIERS, key="team")
    subscription = stage.subscribe(Shop(shop.scope, team.id))
    seat = team.prices[0].id
    stage.send(shop, 1200)
    seats = [
        NewChange(ChangeKind.QUANTITY_CHANGED, october(1), {"price_id": seat, "quantity": "3"}),
        NewChange(ChangeKind.QUANTITY_CHANGED, october(11), {"price_id": seat, "quantity": "5"}),
    ]
    change(stage, shop, subscription, *seats)
    invoice = billed(stage, shop)
    # 3 x 10 days of 31, and 5 x 21 days, at 1.00 a day.
    assert lines(invoice) == of((1, 11, "3", "30.00"), (1, 1, "1200", "21.00"), (11, 1, "5", "105.00"))
    text = explain_line(stage.ledger, shop.scope, invoice.id, invoice.lines[2].id).text
    assert text.splitlines()[:2] == ["5 x 31", "prorated, 21/31 of the period: 105"]
