"""Invoices over HTTP: explained line by line, made again, and what is refused on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from ledger.store import invoices, subscriptions
from pipelines.steps.code_version import CODE_VERSION
from pipelines.steps.collect_quantities import collect_quantities
from pipelines.steps.draft_invoices import draft_invoices
from pipelines.steps.finalize_invoices import finalize_invoices
from pipelines.steps.gate_quantities import gate_quantities
from pipelines.steps.gate_totals import gate_totals
from pipelines.steps.late_usage import find_late_usage
from pipelines.steps.price_invoices import price_invoices
from pipelines.steps.settle_adjustments import settle_adjustments
from tests.support.api_catalog import METER, catalogue, guide, guide_plan
from tests.support.api_stack import Stack, Tenant
from warehouse_sql.client import Warehouse

# A period that no other test bills: the steps work on every tenant's.
START = "2024-03-05T00:00:00Z"
BILLING_DAY = datetime(2024, 4, 5, tzinfo=UTC), datetime(2024, 4, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def warehouse(stack: Stack) -> Iterator[Warehouse]:
    names = ("URL", "USER", "PASSWORD", "DATABASE")
    with closing(Warehouse(*(stack.environment[f"TALLY_WAREHOUSE_{name}"] for name in names))) as client:
        yield client


@pytest.fixture(scope="module")
def billed(stack: Stack, warehouse: Warehouse) -> tuple[Tenant, dict[str, Any]]:
    """A tenant whose customer used 1500 requests, and the finalized invoice over them."""
    tenant = stack.tenant()
    tenant.make("meters", METER)
    feature = tenant.make("features", guide("features"))
    plan = tenant.make("plans", guide_plan(feature["id"]))
    tenant.make("customers", guide("customers"))
    who = {"customer_id": "acme_corp_001", "plan_id": plan["id"]}
    tenant.make("subscriptions", {**guide("subscriptions"), **who, "start_date": START})
    _send(tenant, range(1500))
    now = datetime.now(UTC)
    collect_quantities(stack.ledger, warehouse, *BILLING_DAY, now)
    gate_quantities(stack.ledger, warehouse, *BILLING_DAY, now)
    draft_invoices(stack.ledger, *BILLING_DAY, now)
    price_invoices(stack.ledger, *BILLING_DAY, now, CODE_VERSION)
    gate_totals(stack.ledger, *BILLING_DAY, now)
    finalize_invoices(stack.ledger, *BILLING_DAY, now)
    [invoice] = tenant.get("invoices").json()["items"]
    assert invoice["invoice_status"] == "finalized"
    return tenant, invoice


def _send(tenant: Tenant, numbers: range) -> None:
    event = {"event_name": "api.request", "customer_id": "acme_corp_001", "timestamp": "2024-03-20T12:00:00Z"}
    events = [{**event, "event_id": f"request-{number}"} for number in numbers]
    tenant.make("events/bulk", {"events": events})


def test_M4_a_line_is_explained_and_its_events_are_listed_page_by_page(billed: tuple[Tenant, dict[str, Any]]) -> None:
    tenant, invoice = billed
    [line] = invoice["line_items"]
    explained = tenant.get(f"invoices/{invoice['id']}/lines/{line['id']}/explain").json()
    assert explained["explanation"].splitlines() == [
        "metered: 1500",
        "graduated, up to 1000: 1000 x 0.01 + 10 = 20",
        "graduated, up to 10000: 500 x 0.008 = 4",
        "sum: 24",
        "rounded to 2 decimals: 24.00 USD",
        "total: 24.00 USD",
    ]
    assert explained["price"]["price"]["tiers"][0] == {"up_to": "1000", "unit_price": "0.01", "flat_fee": "10.00"}
    assert explained["meter"]["definition"]["event_name"] == "api.request"
    assert (explained["events"]["count"], explained["events"]["quantity_hash"]) == (1500, line["quantity_hash"])

    found: list[str] = []
    params = {"limit": "100"}
    while True:
        page = tenant.http.get(explained["events"]["url"], params=params).json()
        found += [event["event_id"] for event in page["items"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert sorted(found) == sorted(f"request-{number}" for number in range(1500))


def test_the_invoices_of_a_billing_day_are_listed(billed: tuple[Tenant, dict[str, Any]]) -> None:
    tenant, invoice = billed
    for query, found in [
        ("billed_from=2024-04-05&billed_to=2024-04-05", [invoice["id"]]),
        ("billed_to=2024-04-04", []),
        ("billed_from=2024-04-06", []),
        ("billed_from=2024-04-01", [invoice["id"]]),
    ]:
        assert [one["id"] for one in tenant.get(f"invoices?{query}").json()["items"]] == found, query
    refused = tenant.get("invoices?billed_from=2024-04-05&billed_to=2024-04-04")
    assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (
        422,
        "range_is_empty",
        "billed_to",
    )


def test_M3_an_invoice_is_made_again_over_http(billed: tuple[Tenant, dict[str, Any]]) -> None:
    tenant, invoice = billed
    _send(tenant, range(1500, 1503))
    before = tenant.get(f"invoices/{invoice['id']}").json()
    found = tenant.make(f"invoices/{invoice['id']}/recompute", None)
    assert (found["same"], found["reasons"], found["late_events"]) == (True, [], 3)
    assert found["content_hash"] == found["recomputed_content_hash"]
    [line] = found["lines"]
    assert (line["recomputed_amount"], line["quantity_with_late_events"]) == ("24.00", "1503")
    assert tenant.get(f"invoices/{invoice['id']}").json() == before


ONE_OFF = {
    "customer_id": "acme_corp_001",
    "currency": "usd",
    "lines": [
        {"display_name": "Onboarding", "amount": "500.00"},
        {"display_name": "Consulting, hours", "quantity": 7.5, "unit_price": "133.33"},
    ],
}


def test_a_one_off_invoice_is_drafted_finalized_explained_and_voided(tenant: Tenant) -> None:
    tenant.make("customers", guide("customers"))
    draft = tenant.make("invoices", ONE_OFF)
    assert (draft["invoice_status"], draft["invoice_number"], draft["subscription_id"]) == ("draft", None, None)
    # 7.5 x 133.33 = 999.975
    assert (draft["total"], draft["currency"]) == ("1499.98", "usd")
    assert [(line["price_type"], line["quantity"], line["amount"]) for line in draft["line_items"]] == [
        ("one_off", "1", "500.00"),
        ("one_off", "7.5", "999.98"),
    ]
    path = f"invoices/{draft['id']}"
    explained = tenant.get(f"{path}/lines/{draft['line_items'][1]['id']}/explain").json()
    assert explained["explanation"].splitlines() == [
        "quantity: 7.5",
        "7.5 x 133.33 = 999.975",
        "rounded to 2 decimals: 999.98 USD",
        "total: 999.98 USD",
    ]
    assert (explained["price"], explained["meter"], explained["events"]) == (None, None, None)
    assert tenant.get(f"{path}/lines/{draft['line_items'][1]['id']}/events").json()["items"] == []

    final = tenant.make(f"{path}/finalize", None)
    assert (final["invoice_status"], final["invoice_number"][-6:]) == ("finalized", "-00001")
    assert tenant.make(f"{path}/finalize", None) == final
    again = tenant.make(f"{path}/recompute", None)
    assert (again["same"], again["reasons"], [line["same"] for line in again["lines"]]) == (True, [], [True, True])

    voided = tenant.make(f"{path}/void", {"reason": "Ordered twice"})
    assert (voided["invoice_status"], voided["void_reason"]) == ("void", "Ordered twice")
    assert voided["invoice_number"] == final["invoice_number"]
    assert tenant.make(f"{path}/void", {"reason": "Once more"}) == voided
    refused = tenant.post(f"{path}/finalize")
    assert (refused.status_code, refused.json()["code"]) == (409, "invoice_not_draft")


def test_a_one_off_invoice_is_made_once_per_idempotency_key(tenant: Tenant) -> None:
    tenant.make("customers", guide("customers"))
    answers = [tenant.post("invoices", ONE_OFF, headers={"Idempotency-Key": "once"}) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert len(tenant.get("invoices").json()["items"]) == 1


def test_a_paid_invoice_is_not_voided_and_the_way_out_is_named(tenant: Tenant) -> None:
    tenant.make("customers", guide("customers"))
    invoice = tenant.make("invoices", ONE_OFF)
    tenant.make(f"invoices/{invoice['id']}/finalize", None)
    paid = {
        "destination_type": "invoice",
        "destination_id": invoice["id"],
        "payment_method_type": "offline",
        "amount": "1499.98",
        "currency": "USD",
    }
    tenant.make("payments", paid)
    refused = tenant.post(f"invoices/{invoice['id']}/void", {"reason": "no"})
    assert (refused.status_code, refused.json()["code"]) == (409, "invoice_paid")
    assert "Refund" in refused.json()["hint"]
    assert tenant.get(f"invoices/{invoice['id']}").json()["payment_status"] == "paid"


def test_a_draft_of_a_running_period_is_not_finalized_by_hand(stack: Stack, tenant: Tenant) -> None:
    made = catalogue(tenant)
    now = datetime.now(UTC)
    with stack.ledger.begin() as session:
        subscription = subscriptions.get_subscription(session, tenant.scope, made["subscription"]["id"])
        schedule = subscription.schedule()
        past = invoices.ensure_draft(
            session, tenant.scope, subscription, schedule.period_at(subscription.start_date), now
        )
        running = invoices.ensure_draft(session, tenant.scope, subscription, schedule.period_at(now), now)
    refused = tenant.post(f"invoices/{running.id}/finalize")
    assert (refused.status_code, refused.json()["code"]) == (409, "period_not_over")
    held = tenant.post(f"invoices/{past.id}/finalize")
    assert (held.status_code, held.json()["code"]) == (409, "invoice_held")
    assert "the draft is not priced" in held.json()["detail"]
    assert tenant.get(f"invoices/{past.id}").json()["invoice_status"] == "draft"


def test_what_does_not_exist_is_named(billed: tuple[Tenant, dict[str, Any]]) -> None:
    tenant, invoice = billed
    [line] = invoice["line_items"]
    for path, status, code in (
        (f"invoices/none/lines/{line['id']}/explain", 404, "invoice_not_found"),
        (f"invoices/{invoice['id']}/lines/none/explain", 404, "line_not_found"),
        (f"invoices/{invoice['id']}/lines/none/events", 404, "line_not_found"),
        (f"invoices/{invoice['id']}/lines/{line['id']}/events?cursor=none", 422, "bad_cursor"),
        (f"invoices/{invoice['id']}/lines/{line['id']}/events?limit=101", 422, "out_of_range"),
    ):
        answer = tenant.get(path)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_an_invoice_is_shown_as_a_page_and_as_a_pdf_that_stays_the_same(billed: tuple[Tenant, dict[str, Any]]) -> None:
    tenant, invoice = billed
    page = tenant.get(f"invoices/{invoice['id']}/html")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for text in ("Acme Corporation", invoice["invoice_number"], "up to 1,000: 1,000 × 0.01 + 10.00 fee", "24.00 USD"):
        assert text in page.text
    assert "Made in a test environment" in page.text
    first, again = (tenant.get(f"invoices/{invoice['id']}/pdf") for _ in range(2))
    assert first.headers["content-type"] == "application/pdf"
    assert first.headers["content-disposition"] == f'inline; filename="{invoice["invoice_number"]}.pdf"'
    assert first.content.startswith(b"%PDF-")
    assert first.content == again.content


def test_the_running_period_and_what_became_of_each_are_read_over_http(billed: tuple[Tenant, dict[str, Any]]) -> None:
    tenant, invoice = billed
    subscription = f"subscriptions/{invoice['subscription_id']}"
    upcoming = tenant.get(f"{subscription}/upcoming-invoice").json()
    # The first tier's fee is due without usage.
    assert (upcoming["total"], upcoming["amount_due"], upcoming["currency"]) == ("10.00", "10.00", "usd")
    assert upcoming["line_items"][0].keys() == invoice["line_items"][0].keys()
    assert upcoming["usage"] == [
        {
            "meter_id": "meter_api_requests",
            "meter_version": 1,
            "events": 0,
            "unusable": 0,
            "served_by": {"rollup_days": 0, "raw_days": 0},
        }
    ]
    newest = tenant.get(f"{subscription}/periods", params={"limit": "2"}).json()
    assert [period["status"] for period in newest["items"]] == ["upcoming", "running"]
    assert newest["items"][1]["period_start"] == upcoming["period_start"]
    oldest = tenant.get(f"{subscription}/periods", params={"order": "OLDEST", "limit": "1"}).json()["items"]
    assert oldest == [
        {
            "period_start": START,
            "period_end": "2024-04-05T00:00:00Z",
            "status": "invoiced",
            "invoice_id": invoice["id"],
            "invoice_number": invoice["invoice_number"],
            "total": "24.00",
            "currency": "usd",
        }
    ]
    answer = tenant.get(f"{subscription}/periods", params={"cursor": "nonsense"})
    assert (answer.status_code, answer.json()["code"]) == (422, "cursor_invalid")


def test_an_ended_subscription_has_no_upcoming_invoice(tenant: Tenant) -> None:
    made = catalogue(tenant)
    ids = {"customer_id": made["customer"]["id"], "plan_id": made["plan"]["id"]}
    dates = {"start_date": "2024-01-01T00:00:00Z", "end_date": "2024-03-01T00:00:00Z"}
    ended = tenant.make("subscriptions", {**guide("subscriptions"), **ids, **dates})
    answer = tenant.get(f"subscriptions/{ended['id']}/upcoming-invoice")
    assert (answer.status_code, answer.json()["code"]) == (409, "subscription_ended")
    assert f"subscriptions/{ended['id']}/periods" in answer.json()["hint"]


def _late(tenant: Tenant, **filters: str) -> list[dict[str, Any]]:
    """All pages of the late events."""
    found: list[dict[str, Any]] = []
    params = {"limit": "4", **filters}
    while True:
        page = tenant.get("late-events", params=params).json()
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        params["cursor"] = page["next_cursor"]


def test_M5_late_events_are_listed_with_the_invoice_that_they_missed_and_what_became_of_them(
    stack: Stack, warehouse: Warehouse, billed: tuple[Tenant, dict[str, Any]]
) -> None:
    tenant, invoice = billed
    _send(tenant, range(1500, 1510))
    again = {"event_name": "api.request", "customer_id": "acme_corp_001", "timestamp": "2024-03-21T12:00:00Z"}
    tenant.make("events/bulk", {"events": [{**again, "event_id": "request-7"}]})
    now = datetime.now(UTC)
    find_late_usage(stack.ledger, warehouse, now)
    found = _late(tenant)
    assert {one["event_id"]: one["outcome"] for one in found} == {
        **{f"request-{number}": "pending" for number in range(1500, 1510)},
        "request-7": "not_counted",
    }
    assert len(found) == 11
    late, lost = found[-1], next(one for one in found if one["outcome"] == "not_counted")
    assert lost["not_counted_because"] == "conflict"
    assert (late["missed_invoice"]["id"], late["missed_invoice"]["invoice_number"]) == (
        invoice["id"],
        invoice["invoice_number"],
    )
    # 10 more at 0.008, in the second tier.
    assert [late["adjustment"][name] for name in ("amount", "due", "billed", "late_events")] == [
        "0.08",
        "24.08",
        "24.00",
        11,
    ]
    assert late["late_by_seconds"] >= 0
    [line] = invoice["line_items"]
    ours = {
        "customer_id": "acme_corp_001",
        "meter_id": line["meter_id"],
        "subscription_id": invoice["subscription_id"],
        "invoice_id": invoice["id"],
        "since": late["ingested_at"],
    }
    assert _late(tenant, **ours) == found
    assert _late(tenant, since="2090-01-01T00:00:00Z") == _late(tenant, meter_id="meter_other") == []
    assert tenant.get("late-events", params={"cursor": "x"}).json()["code"] == "cursor_invalid"
    assert _late(stack.tenant()) == []

    changed = tenant.http.patch("/api/v1/environment", json={"late_events": "SEPARATE_INVOICE"})
    assert changed.json()["late_events"] == "separate_invoice"
    settle_adjustments(stack.ledger, now)
    [billed_one] = {one["adjustment"]["carried_by_invoice_id"] for one in _late(tenant) if one["outcome"] == "billed"}
    carrier = tenant.get(f"invoices/{billed_one}").json()
    assert (carrier["total"], carrier["billing_reason"], carrier["subscription_id"]) == ("0.08", "adjustment", None)
    [adjustment] = carrier["line_items"]
    explained = tenant.get(f"invoices/{billed_one}/lines/{adjustment['id']}/explain").json()
    assert explained["explanation"].splitlines() == [
        "due with everything that has come since: 24.08",
        "billed before: 24.00",
        "quantity: 10 more",
        "difference: 0.08 USD",
    ]
    events = tenant.http.get(explained["events"]["url"], params={"limit": "100"}).json()["items"]
    assert {one["event_id"] for one in events} == {f"request-{number}" for number in range(1500, 1510)}
    assert tenant.make(f"invoices/{billed_one}/recompute", None)["same"]
