"""An invoice explains itself (M4) and can be made again to the same bytes (M3), from the real warehouse and ledger."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.errors import Conflict, InvalidInput, NotFound
from billing.meter import parse_definition
from ledger.store import audit, gates, invoices, meters
from ledger.store.invoices import InvoiceRecord
from pipelines.steps.code_version import CODE_VERSION
from pipelines.steps.collect_quantities import collect_quantities
from pipelines.steps.draft_invoices import draft_invoices
from pipelines.steps.explain_line import explain_line, line_events
from pipelines.steps.invoice_hash import invoice_hash
from pipelines.steps.price_invoices import price_invoices
from pipelines.steps.recompute_invoice import RecomputedInvoice, recompute_invoice
from tests.integration.pipelines.stage import BILLING_DAY, OCTOBER, Shop, Stage
from warehouse_sql.metered_events import MeteredEvent

DAY = datetime(2024, 11, 1, tzinfo=UTC), datetime(2024, 11, 2, tzinfo=UTC)
EXPLANATION = """\
metered: 1500
graduated, up to 1000: 1000 x 0.01 + 10 = 20
graduated, up to 10000: 500 x 0.008 = 4
sum: 24
rounded to 2 decimals: 24.00 USD
total: 24.00 USD"""


def final(stage: Stage, shop: Shop, first: date = BILLING_DAY) -> InvoiceRecord:
    stage.bill_by_steps(first)
    (invoice,) = stage.invoices(shop)
    return invoice


def priced_draft(stage: Stage, shop: Shop, code_version: str = CODE_VERSION) -> InvoiceRecord:
    collect_quantities(stage.ledger, stage.warehouse, *DAY, stage.now)
    draft_invoices(stage.ledger, *DAY, stage.now)
    price_invoices(stage.ledger, *DAY, stage.now, code_version)
    (invoice,) = stage.invoices(shop)
    return invoice


def events_of(stage: Stage, shop: Shop, invoice: InvoiceRecord, line: int = 0, limit: int = 100) -> list[MeteredEvent]:
    """All pages of a line's events."""
    found: list[MeteredEvent] = []
    cursor = None
    while True:
        page = line_events(stage.ledger, stage.warehouse, shop.scope, invoice.id, invoice.lines[line].id, cursor, limit)
        assert len(page.items) <= limit
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


def again(stage: Stage, shop: Shop, invoice: InvoiceRecord) -> RecomputedInvoice:
    return recompute_invoice(stage.ledger, stage.warehouse, shop.scope, invoice.id, stage.now)


def everything(stage: Stage, shop: Shop) -> list[Any]:
    with stage.ledger.read() as session:
        return [
            invoices.list_invoices(session, shop.scope).items,
            audit.list_entries(session, shop.scope).items,
            gates.list_results(session, shop.scope),
        ]


def test_M4_a_line_is_explained_by_its_arithmetic_its_versions_and_its_number_of_events(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    stage.send(shop, 1500)
    invoice = final(stage, shop)
    line = invoice.lines[0]
    explained = explain_line(stage.ledger, shop.scope, invoice.id, line.id)
    assert explained.text == EXPLANATION
    assert (explained.price.id, explained.price.version) == (line.price_id, 1)
    assert explained.meter is not None
    assert (explained.meter.id, explained.meter.version, explained.events) == ("meter_api_requests", 1, 1500)


def test_M4_a_fixed_line_is_explained_by_the_share_of_the_period_and_has_no_events(stage: Stage) -> None:
    shop = stage.shop(prices=[{"pricing_model": "flat", "amount": "31.00"}])
    stage.subscribe(shop, start_date=datetime(2024, 10, 17, tzinfo=UTC), billing_anchor="calendar")
    invoice = final(stage, shop)
    explained = explain_line(stage.ledger, shop.scope, invoice.id, invoice.lines[0].id)
    assert explained.text.splitlines() == [
        "fee 31",
        "prorated, 15/31 of the period: 15",
        "rounded to 2 decimals: 15.00 USD",
        "total: 15.00 USD",
    ]
    assert (explained.meter, explained.events) == (None, None)
    assert events_of(stage, shop, invoice) == []


def test_M4_the_events_of_a_line_are_exactly_those_that_were_counted(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    stage.send(shop, 250)
    stage.send(shop, 5, first=10)  # the same once more
    stage.send(shop, 3, customer="somebody_else")
    stage.send(shop, 1, first=900, at=OCTOBER[0] - timedelta(microseconds=1))
    stage.send(shop, 1, first=901, at=OCTOBER[1])
    stage.send_again(shop, "acme_corp_001-7", "acme_corp_001", OCTOBER[0] + timedelta(days=20))
    invoice = final(stage, shop)
    stage.send(shop, 20, first=400)  # too late for this invoice

    found = events_of(stage, shop, invoice)
    assert [event.event_id for event in found] == [f"acme_corp_001-{number}" for number in reversed(range(250))]
    assert {event.text for event in found} == {None}
    assert invoice.lines[0].watermark is not None
    assert max(event.ingested_at for event in found) <= invoice.lines[0].watermark


def test_M4_events_without_a_usable_value_are_not_behind_a_line(stage: Stage) -> None:
    shop = stage.shop(aggregation="sum", prices=[{"pricing_model": "per_unit", "unit_price": "1"}])
    stage.subscribe(shop)
    stage.send(shop, 3, tokens="1.25")
    stage.send(shop, 1, first=3, tokens="many")
    invoice = priced_draft(stage, shop)
    assert [(event.event_id, event.text) for event in events_of(stage, shop, invoice, limit=2)] == [
        ("acme_corp_001-2", "1.25"),
        ("acme_corp_001-1", "1.25"),
        ("acme_corp_001-0", "1.25"),
    ]


def test_M4_many_events_of_one_moment_are_each_listed_once_over_all_pages(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    stage.send(shop, 23, at=OCTOBER[0])
    invoice = priced_draft(stage, shop)
    found = [event.event_id for event in events_of(stage, shop, invoice, limit=5)]
    assert sorted(found) == sorted(f"acme_corp_001-{number}" for number in range(23))


def test_M4_the_level_that_a_weighted_sum_begins_with_is_among_its_events(stage: Stage) -> None:
    shop = stage.shop(aggregation="weighted_sum", prices=[{"pricing_model": "per_unit", "unit_price": "0.01"}])
    stage.subscribe(shop)
    stage.send(shop, 1, at=OCTOBER[0] - timedelta(days=40), tokens="7")
    stage.send(shop, 1, first=1, at=OCTOBER[0] - timedelta(days=30), tokens="2")
    stage.send(shop, 1, first=2, at=OCTOBER[1] - timedelta(hours=10), tokens="0")
    invoice = final(stage, shop)
    # A level of 2 for 734 of October's 744 hours.
    assert invoice.lines[0].quantity == Decimal(1468)
    found = events_of(stage, shop, invoice, limit=1)
    assert [(event.event_id, event.text) for event in found] == [("acme_corp_001-2", "0"), ("acme_corp_001-1", "2")]


def test_M3_an_invoice_made_again_is_the_same_to_the_byte_and_nothing_is_written(stage: Stage) -> None:
    shop = stage.shop(
        prices=[
            {"pricing_model": "flat", "amount": "10.00"},
            {"pricing_model": "package", "package_size": "1000", "package_price": "5", "discount_percent": "10"},
        ]
    )
    stage.subscribe(shop, end_date=datetime(2024, 10, 20, tzinfo=UTC))
    stage.send(shop, 1500)
    stage.roll_up_by_steps()
    invoice = final(stage, shop, date(2024, 10, 20))
    before = everything(stage, shop)
    stage.now += timedelta(days=400)
    found = again(stage, shop, invoice)
    assert found.same
    assert found.again == invoice
    assert found.content_hash == found.recomputed_content_hash == invoice_hash(invoice)
    assert [line.same for line in found.lines] == [True, True]
    assert everything(stage, shop) == before


def test_M3_events_that_came_late_are_counted_apart_and_change_nothing(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    stage.send(shop, 1500)
    invoice = final(stage, shop)
    stage.send(shop, 100, first=1500)
    stage.send(shop, 5)  # known ones are not late
    found = again(stage, shop, invoice)
    assert found.same
    (line,) = found.lines
    assert (found.late_events, line.late_events, line.quantity_with_late_events) == (100, 100, Decimal(1600))
    assert found.again.total == invoice.total == Decimal("24.00")


def test_an_invoice_of_other_code_is_the_same_as_long_as_that_code_came_to_the_same(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    stage.send(shop, 10)
    found = again(stage, shop, priced_draft(stage, shop, "0.0.1"))
    assert (found.same, found.stored.code_version, found.code_version) == (True, "0.0.1", CODE_VERSION)


def test_M3_a_price_or_meter_that_was_changed_since_does_not_change_what_is_made_again(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    stage.send(shop, 10)
    invoice = final(stage, shop)
    with stage.ledger.begin() as session:
        other = {"name": "Requests", "event_name": "another.event", "aggregation": {"type": "count"}}
        meters.revise_meter(session, shop.scope, "meter_api_requests", parse_definition(other), stage.now)
    assert again(stage, shop, invoice).same
    assert len(events_of(stage, shop, invoice)) == 10


@pytest.mark.parametrize(
    ("tampered", "codes"),
    [
        pytest.param(
            {"amount": Decimal("1.00")},
            (["amount_differs", "other_code_version"], ["total_differs"]),
            id="an amount that the price does not give",
        ),
        pytest.param(
            {"quantity": Decimal(9), "quantity_hash": "v1-9-00000000000000000000000000000000"},
            (["events_differ", "quantity_differs"], []),
            id="a quantity of other events",
        ),
        pytest.param({"display_name": "Calls"}, (["line_differs"], []), id="a line of another name"),
    ],
)
def test_what_differs_is_said_line_by_line_with_the_reason(
    stage: Stage, tampered: dict[str, Any], codes: tuple[list[str], list[str]]
) -> None:
    package = {"pricing_model": "package", "package_size": 100, "package_price": "10"}
    shop = stage.shop(prices=[{"pricing_model": "flat", "amount": "2"}, package])
    stage.subscribe(shop)
    stage.send(shop, 10)
    draft = priced_draft(stage, shop, "0.0.1" if "amount" in tampered else CODE_VERSION)
    kept, other = draft.lines
    with stage.ledger.begin() as session:
        invoices.replace_lines(
            session,
            shop.scope,
            draft.id,
            [kept, replace(other, **tampered)],
            draft.inputs_hash or "",
            draft.watermark,
            draft.code_version or "",
            stage.now,
        )
    found = again(stage, shop, draft)
    assert not found.same
    assert [[reason.code for reason in line.reasons] for line in found.lines] == [[], codes[0]]
    assert [reason.code for reason in found.reasons] == codes[1]
    assert found.content_hash != found.recomputed_content_hash


def test_a_record_that_is_not_what_was_finalized_is_noticed(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    stage.send(shop, 10)
    invoice = final(stage, shop)
    with stage.ledger.begin() as session:
        (verdict,) = gates.list_results(session, shop.scope, gate="finalize", subject=invoice.id)
        gates.put_result(session, shop.scope, "finalize", invoice.id, "0" * 64, True, verdict.detail, stage.now)
    found = again(stage, shop, invoice)
    assert (found.same, [reason.code for reason in found.reasons]) == (False, ["record_changed"])


def test_what_cannot_be_explained_is_refused_by_name(stage: Stage) -> None:
    shop = stage.shop()
    stage.subscribe(shop)
    draft_invoices(stage.ledger, *DAY, stage.now)
    (unpriced,) = stage.invoices(shop)
    with pytest.raises(Conflict, match="no lines yet"):
        again(stage, shop, unpriced)
    with pytest.raises(NotFound) as caught:
        explain_line(stage.ledger, shop.scope, unpriced.id, "line_none")
    assert (caught.value.code, caught.value.field) == ("line_not_found", "line_id")
    invoice = priced_draft(stage, shop)
    for cursor in ("x", "bnVsbA", "WzEsMl0", "Wy0xLCIiXQ", "WzFlOTksIiJd"):
        with pytest.raises(InvalidInput) as refused:
            line_events(stage.ledger, stage.warehouse, shop.scope, invoice.id, invoice.lines[0].id, cursor, 10)
        assert refused.value.code == "bad_cursor"
