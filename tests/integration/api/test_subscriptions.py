"""The life of a subscription through HTTP: subscribe, change, pause, cancel, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from billing.instant import parse_instant
from ledger.store import invoices, subscriptions
from tests.support.api_catalog import METER, guide
from tests.support.api_stack import Stack, Tenant

FLAT = {"display_name": "Seat", "pricing_model": "flat", "amount": "31.00"}
PER_UNIT = {"pricing_model": "per_unit", "unit_price": "0.01"}
VECTORS = Path(__file__).parents[2] / "data" / "vectors"
START = datetime(2024, 1, 1, tzinfo=UTC)


def periods() -> list[Any]:
    found = json.loads((VECTORS / "periods.json").read_text(encoding="utf-8"))
    return [pytest.param(case, id=case["id"]) for case in found]


@pytest.fixture(scope="module")
def previewing(stack: Stack) -> Tenant:
    return stack.tenant()


@pytest.mark.parametrize("case", periods())
def test_the_preview_gives_the_periods_that_other_systems_give(previewing: Tenant, case: dict[str, Any]) -> None:
    body = {
        "start_date": case["anchor"],
        "billing_period": case["interval"],
        "billing_anchor": case.get("billing_anchor", "subscription_start"),
        "timezone": case.get("timezone", "UTC"),
        "at": case.get("at", case.get("last_completed_at")),
    }
    answer = previewing.make("subscriptions/preview", body)
    # What was the last completed period at a moment is the one before the running one.
    which = "current" if "at" in case else "previous"
    for name, expected in case["expected"].items():
        assert parse_instant(answer[f"{which}_period_{name}"], "") == parse_instant(expected, ""), case["note"]


@pytest.fixture
def shop(tenant: Tenant) -> dict[str, Any]:
    """Two plans of a seat and usage, and a customer."""
    tenant.make("meters", METER)
    feature = tenant.make("features", guide("features"))["id"]
    plan = {"billing_period": "monthly", "currency": "USD", "prices": [FLAT, {"feature_id": feature, **PER_UNIT}]}
    return {
        "team": tenant.make("plans", {"name": "Team", "key": "team", **plan}),
        "pro": tenant.make("plans", {"name": "Pro", "key": "pro", "tier_progress": "continue", **plan}),
        "yearly": tenant.make("plans", {"name": "Year", "key": "year", **plan, "billing_period": "yearly"}),
        "customer": tenant.make("customers", guide("customers")),
    }


def subscribe(tenant: Tenant, **other: Any) -> dict[str, Any]:
    made: dict[str, Any] = tenant.make("subscriptions", {"customer_id": "acme_corp_001", "plan_id": "team", **other})
    return made


def ask(tenant: Tenant, subscription: dict[str, Any], what: str, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = tenant.http.post(f"/api/v1/subscriptions/{subscription['id']}/{what}", json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def patch(tenant: Tenant, subscription: dict[str, Any], status: int = 200, **body: Any) -> dict[str, Any]:
    answer = tenant.http.patch(f"/api/v1/subscriptions/{subscription['id']}", json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def read(tenant: Tenant, path: str) -> dict[str, Any]:
    answer = tenant.http.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def history(tenant: Tenant, subscription: dict[str, Any]) -> list[tuple[int, str, bool]]:
    items = read(tenant, f"subscriptions/{subscription['id']}/history")["items"]
    return [(item["sequence"], item["kind"], item["withdrawn"]) for item in items]


def finalize_period(stack: Stack, tenant: Tenant, subscription: dict[str, Any]) -> datetime:
    """Makes the invoice of the first period final, and says where it ends."""
    now = datetime.now(UTC)
    with stack.ledger.begin() as session:
        record = subscriptions.get_subscription(session, tenant.scope, subscription["id"])
        period = record.schedule().period_at(record.start_date)
        draft = invoices.ensure_draft(session, tenant.scope, record, period, now)
        invoices.replace_lines(session, tenant.scope, draft.id, [], "h", None, "1", now)
        invoices.finalize(session, tenant.scope, draft.id, now)
    return period.end


def z(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_subscription_begins_with_a_trial_seats_and_special_prices(tenant: Tenant, shop: dict[str, Any]) -> None:
    seat, calls = (price["id"] for price in shop["team"]["prices"])
    made = subscribe(
        tenant,
        trial_days=14,
        timezone="Europe/Berlin",
        start_date="2099-03-20T00:00:00+01:00",
        quantities=[{"price_id": seat, "quantity": "5"}],
        price_overrides=[{"price_id": calls, "price": {"unit_price": "0.008"}, "display_name": "Calls for Acme"}],
    )
    # Fourteen local days, of which summer time takes an hour.
    assert (made["status"], made["trial_end"]) == ("scheduled", "2099-04-02T22:00:00Z")
    assert made["quantities"] == [{"price_id": seat, "quantity": "5"}]
    (override,) = made["price_overrides"]
    assert (override["price_id"], override["override_version"]) == (calls, 1)
    price = read(tenant, f"prices/{override['override_id']}")
    assert (price["price"], price["display_name"]) == ({**PER_UNIT, "unit_price": "0.008"}, "Calls for Acme")
    assert (price["subscription_id"], price["overrides_price_id"]) == (made["id"], calls)
    assert override["override_id"] not in {item["id"] for item in read(tenant, "prices")["items"]}
    assert len(read(tenant, "plans/team")["prices"]) == 2
    refused = tenant.http.patch(f"/api/v1/prices/{override['override_id']}", json={"unit_price": "1"})
    assert (refused.status_code, refused.json()["code"]) == (409, "price_of_subscription")


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        pytest.param({"trial_days": 1, "trial_end": "2099-01-01T00:00:00Z"}, 422, "trial_given_twice", "trial_days"),
        pytest.param({"trial_end": "2020-01-01T00:00:00Z"}, 422, "trial_end_before_start", "trial_end"),
        pytest.param(
            {"quantities": [{"price_id": "price_x", "quantity": 1}]}, 422, "price_not_in_plan", "quantities[0].price_id"
        ),
        pytest.param(
            {"price_overrides": [{"price_id": "CALLS", "price": {"pricing_model": "flat", "amount": "1"}}]},
            422,
            "pricing_unit_fixed",
            "price_overrides[0].price.pricing_model",
        ),
        pytest.param(
            {"quantities": [{"price_id": "CALLS", "quantity": 1}]},
            422,
            "quantity_not_for_price",
            "quantities[0].price_id",
        ),
        pytest.param(
            {"quantities": [{"price_id": "SEAT", "quantity": "-1"}]}, 422, "out_of_range", "quantities[0].quantity"
        ),
    ],
)
def test_what_a_subscription_cannot_begin_with_is_refused_by_its_field(
    tenant: Tenant, shop: dict[str, Any], body: dict[str, Any], status: int, code: str, field: str
) -> None:
    seat, calls = (price["id"] for price in shop["team"]["prices"])
    text = {"SEAT": seat, "CALLS": calls}
    for items in body.values():
        for item in items if isinstance(items, list) else ():
            item["price_id"] = text.get(item["price_id"], item["price_id"])
    answer = tenant.http.post("/api/v1/subscriptions", json={"customer_id": "acme_corp_001", "plan_id": "team", **body})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (status, code, field), answer.text
    assert read(tenant, "subscriptions")["items"] == []


def test_a_cancellation_ends_the_last_period_and_may_be_withdrawn_while_the_end_is_ahead(
    tenant: Tenant, shop: dict[str, Any]
) -> None:
    made = subscribe(tenant)
    cancelled = ask(tenant, made, "cancel", effective="period_end", reason="moved on")
    assert (cancelled["status"], cancelled["end_date"]) == ("active", made["current_period_end"])
    sooner = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    assert ask(tenant, made, "cancel", effective=z(sooner))["current_period_end"] == z(sooner)
    back = ask(tenant, made, "withdraw-cancellation", reason="stays")
    assert (back["end_date"], back["status"]) == (None, "active")
    assert ask(tenant, made, "withdraw-cancellation", 409)["code"] == "not_to_be_cancelled"
    gone = ask(tenant, made, "cancel")
    assert gone["status"] == "cancelled"
    for what in ("cancel", "pause", "resume", "withdraw-cancellation"):
        assert ask(tenant, made, what, 409)["code"] == "subscription_cancelled"
    assert [kind for _, kind, _ in history(tenant, made)] == [
        "cancelled",
        "cancellation_withdrawn",
        "cancellation_withdrawn",
        "cancelled",
        "cancelled",
    ]
    assert [item["id"] for item in read(tenant, "subscriptions?status=canceled")["items"]] == [made["id"]]


def test_a_planned_end_comes_back_when_a_cancellation_is_withdrawn(tenant: Tenant, shop: dict[str, Any]) -> None:
    made = subscribe(tenant, end_date="2099-12-31T00:00:00Z")
    assert ask(tenant, made, "cancel", effective="2099-06-30T00:00:00Z")["end_date"] == "2099-06-30T00:00:00Z"
    assert ask(tenant, made, "withdraw-cancellation")["end_date"] == "2099-12-31T00:00:00Z"
    assert patch(tenant, made, end_date="2098-12-31T00:00:00Z")["end_date"] == "2098-12-31T00:00:00Z"
    assert patch(tenant, made, end_date=None)["end_date"] is None


def test_a_pause_holds_until_it_is_resumed(tenant: Tenant, shop: dict[str, Any]) -> None:
    made = subscribe(tenant)
    assert ask(tenant, made, "resume", 409)["code"] == "subscription_not_paused"
    assert ask(tenant, made, "pause", reason="holiday")["status"] == "paused"
    assert ask(tenant, made, "pause", 409)["code"] == "subscription_paused"
    assert [item["id"] for item in read(tenant, "subscriptions?status=paused")["items"]] == [made["id"]]
    assert ask(tenant, made, "resume")["status"] == "active"


def test_a_change_of_plan_takes_seats_along_only_when_they_are_sent(tenant: Tenant, shop: dict[str, Any]) -> None:
    old, new = shop["team"]["prices"][0]["id"], shop["pro"]["prices"][0]["id"]
    made = subscribe(tenant, quantities=[{"price_id": old, "quantity": 3}])
    assert ask(tenant, made, "change-plan", 409, plan_id="team")["code"] == "plan_unchanged"
    assert ask(tenant, made, "change-plan", 409, plan_id="year")["code"] == "plan_not_compatible"
    assert ask(tenant, made, "change-plan", 422, plan_id="none")["code"] == "plan_not_found"
    later = ask(tenant, made, "change-plan", plan_id="pro", effective="period_end")
    assert later["plan_id"] == shop["team"]["id"]
    moved = ask(tenant, made, "change-plan", plan_id="pro", quantities=[{"price_id": new, "quantity": "2.5"}])
    assert (moved["plan_id"], moved["quantities"]) == (shop["pro"]["id"], [{"price_id": new, "quantity": "2.5"}])
    assert [item["id"] for item in read(tenant, "subscriptions?plan_id=pro")["items"]] == [made["id"]]
    assert read(tenant, "subscriptions?plan_id=team")["items"] == []


def test_a_change_to_come_can_be_withdrawn_and_one_in_effect_cannot(tenant: Tenant, shop: dict[str, Any]) -> None:
    made = subscribe(tenant)
    ask(tenant, made, "pause")
    ask(tenant, made, "resume", effective="2099-01-01T00:00:00Z")
    assert ask(tenant, made, "history/1/withdraw", 409)["code"] == "change_in_effect"
    assert ask(tenant, made, "history/9/withdraw", 404)["code"] == "change_not_found"
    ask(tenant, made, "history/2/withdraw", reason="no date yet")
    assert ask(tenant, made, "history/2/withdraw", 409)["code"] == "change_withdrawn"
    assert history(tenant, made) == [(3, "change_withdrawn", False), (2, "resumed", True), (1, "paused", False)]


def test_an_override_is_changed_by_versions_and_ended_by_null(tenant: Tenant, shop: dict[str, Any]) -> None:
    calls = shop["team"]["prices"][1]["id"]
    made = subscribe(tenant)
    first = patch(tenant, made, price_overrides=[{"price_id": calls, "price": {"discount_percent": "10"}}])
    second = patch(tenant, made, price_overrides=[{"price_id": calls, "price": {"unit_price": "0.02"}}])
    (one,), (two,) = first["price_overrides"], second["price_overrides"]
    assert (one["override_id"], one["override_version"], two["override_version"]) == (two["override_id"], 1, 2)
    assert patch(tenant, made, price_overrides=[{"price_id": calls, "price": None}])["price_overrides"] == []


def test_metadata_and_collection_are_changed_at_once(tenant: Tenant, shop: dict[str, Any]) -> None:
    made = subscribe(tenant, metadata={"a": "1"})
    changed = patch(tenant, made, metadata={"b": "2"}, collection_method="send_invoice")
    assert (changed["metadata"], changed["collection_method"]) == ({"b": "2"}, "send_invoice")
    assert history(tenant, made) == []


def test_no_change_reaches_into_a_period_whose_invoice_is_final(
    stack: Stack, tenant: Tenant, shop: dict[str, Any]
) -> None:
    made = subscribe(tenant, start_date=z(START))
    first = finalize_period(stack, tenant, made)
    within = z(first - timedelta(days=1))
    seat = shop["team"]["prices"][0]["id"]
    refused = [
        ask(tenant, made, "cancel", 409, effective=within),
        ask(tenant, made, "pause", 409, effective=within),
        ask(tenant, made, "change-plan", 409, plan_id="pro", effective=within),
        patch(tenant, made, 409, quantities=[{"price_id": seat, "quantity": 2}], effective=within),
    ]
    assert {answer["code"] for answer in refused} == {"period_finalized"}
    assert all(z(first) in answer["hint"] and "credit note" in answer["hint"] for answer in refused)
    assert history(tenant, made) == []
    assert ask(tenant, made, "pause", effective=z(first))["status"] == "paused"
    assert ask(tenant, made, "pause", 422, effective=z(START - timedelta(days=1)))["code"] == "before_start"


def test_the_same_request_twice_is_one_change(tenant: Tenant, shop: dict[str, Any]) -> None:
    made = subscribe(tenant)
    path = f"/api/v1/subscriptions/{made['id']}/pause"
    answers = [tenant.http.post(path, json={}, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert len(history(tenant, made)) == 1
