"""Price versions through the whole pipeline: three months, three ways to be priced, from real events."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from billing.errors import Conflict
from billing.price import parse_price
from billing.price_version import ApplyTo
from ledger.store import plans
from ledger.store.price_changes import add_price, archive_price, revise_price
from tests.integration.pipelines.stage import Stage

CENT = {"pricing_model": "per_unit", "unit_price": "0.01"}
DIME = parse_price({"pricing_model": "per_unit", "unit_price": "0.10"})


def test_M3_each_month_is_billed_by_the_versions_that_reach_it_whenever_it_is_billed(stage: Stage) -> None:
    shop = stage.shop(prices=[CENT])
    subscription = stage.subscribe(shop, start_date=datetime(2024, 8, 1, tzinfo=UTC))
    for month in (8, 9, 10):
        stage.send(shop, 10, first=month * 10, at=datetime(2024, month, 20, tzinfo=UTC))
    middle = datetime(2024, 9, 15, tzinfo=UTC)
    with stage.ledger.begin() as session:
        plan = plans.get_plan(session, shop.scope, shop.plan_id)
        (price,) = plan.prices
        revise_price(session, shop.scope, price.id, DIME, middle, stage.now)
        support = plans.NewPrice(None, "Support", parse_price({"pricing_model": "flat", "amount": "5.00"}))
        running = ApplyTo.RUNNING_PERIOD
        added = add_price(session, shop.scope, shop.plan_id, support, stage.now, middle, running)
        archive_price(session, shop.scope, added.id, datetime(2024, 10, 1, tzinfo=UTC), stage.now)
    assert len(stage.bill_by_steps(first=date(2024, 9, 1)).invoices) == 3
    invoices = sorted(stage.invoices(shop, subscription), key=lambda invoice: invoice.period.start)
    assert [[(line.price_version, line.amount) for line in invoice.lines] for invoice in invoices] == [
        [(1, Decimal("0.10"))],
        [(1, Decimal("0.10")), (1, Decimal("5.00"))],
        [(2, Decimal("1.00"))],
    ]

    with pytest.raises(Conflict, match="never changes"), stage.ledger.begin() as session:
        revise_price(session, shop.scope, price.id, DIME, datetime(2024, 8, 1, tzinfo=UTC), stage.now)
    assert stage.bill_by_steps(first=date(2024, 9, 1)).invoices == ()
    assert sorted(stage.invoices(shop, subscription), key=lambda invoice: invoice.period.start) == invoices
