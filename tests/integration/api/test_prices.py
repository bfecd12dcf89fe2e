"""Prices through HTTP: the guide's own, every case of the vectors, versions, and numbers that never become floats."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest

from ledger.store import audit
from tests.support.api_catalog import METER, catalogue, guide, guide_plan
from tests.support.api_stack import Stack, Tenant

VECTORS = Path(__file__).parents[2] / "data" / "vectors"
OTHERS = {
    "key": "other",
    "feature_type": "static",
    "meter_id": "meter_other",
    "billing_period": "yearly",
    "currency": "EUR",
}
FIXED = {*OTHERS, "plan_type"}
Made = tuple[Tenant, dict[str, dict[str, Any]]]


def cases(name: str) -> list[Any]:
    found = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return [pytest.param(case, id=case["id"]) for case in found]


@pytest.fixture(scope="module")
def made(stack: Stack) -> Made:
    tenant = stack.tenant()
    return tenant, catalogue(tenant)


@pytest.fixture
def plan(tenant: Tenant) -> dict[str, Any]:
    """The guide's plan, of this test alone and without a subscription."""
    tenant.make("meters", METER)
    feature = tenant.make("features", guide("features"))
    return tenant.make("plans", guide_plan(feature["id"]))


def patch(tenant: Tenant, path: str, body: Any) -> httpx.Response:
    return tenant.http.patch(f"/api/v1/{path}", json=body)


def preview(tenant: Tenant, price: dict[str, Any], quantity: str, currency: str = "USD") -> dict[str, Any]:
    return tenant.make("prices/preview", {"currency": currency, "price": price, "quantity": quantity})


def preview_as_text(tenant: Tenant, unit_price: str) -> httpx.Response:
    """The answer to a body that holds the very text `unit_price`, as it would not be after a turn through a float."""
    body = '{"currency": "USD", "quantity": 1, "price": {"pricing_model": "per_unit", "unit_price": UNIT_PRICE}}'
    content = body.replace("UNIT_PRICE", unit_price).encode()
    return tenant.http.post("/api/v1/prices/preview", content=content, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize(("mode", "total"), [("graduated", "119.10"), ("volume", "77.10")])
def test_the_guides_price_at_15420_calls(made: Made, mode: str, total: str) -> None:
    price = {name: value for name, value in guide("plans")["prices"][0].items() if name != "feature_id"}
    assert preview(made[0], {**price, "tier_mode": mode}, "15420")["total"] == total


@pytest.mark.parametrize("case", cases("rating"))
def test_a_rating_case_of_another_system_holds_through_the_public_route(made: Made, case: dict[str, Any]) -> None:
    answer = preview(made[0], case["price"], case["quantity"], case["currency"])
    assert answer["total"] == case["expected"]["total"]
    if "unrounded" in case["expected"]:
        assert Decimal(answer["unrounded"]) == Decimal(case["expected"]["unrounded"])
    assert sum(Decimal(use["amount"]) for use in answer["breakdown"]) == Decimal(answer["unrounded"])


@pytest.mark.parametrize("case", cases("quantity"))
def test_a_quantity_case_of_another_system_holds_through_the_public_route(made: Made, case: dict[str, Any]) -> None:
    price = {"pricing_model": "per_unit", "unit_price": "1", "transform_quantity": case["transform_quantity"]}
    answer = preview(made[0], price, case["quantity"])
    # Usage never earns money: what is converted to less than nothing is priced as nothing.
    assert Decimal(answer["unrounded"]) == max(Decimal(case["expected"]["quantity"]), 0)


@pytest.mark.parametrize("case", cases("rounding"))
def test_a_rounding_case_of_another_system_holds_through_the_public_route(made: Made, case: dict[str, Any]) -> None:
    price = {"pricing_model": "flat", "amount": case["amount"]}
    answer = preview(made[0], price, "1", case["currency"])
    assert Decimal(answer["total"]) == Decimal(case["expected"]["rounded"])


@pytest.mark.parametrize(
    ("number", "unrounded"),
    [
        pytest.param("0.1", "0.1", id="0.1"),
        pytest.param("123456789012345678.123456789012", "123456789012345678.123456789012", id="30 digits"),
        pytest.param("1e-7", "0.0000001", id="a small exponent"),
        pytest.param("9007199254740993", "9007199254740993", id="2^53 + 1"),
    ],
)
def test_M1_a_json_number_is_read_by_its_text_and_never_becomes_a_float(
    made: Made, number: str, unrounded: str
) -> None:
    answer = preview_as_text(made[0], number)
    assert answer.json()["unrounded"] == unrounded


def test_M1_the_widest_numbers_lose_no_digit_on_the_way_through(made: Made) -> None:
    wide = "9" * 26 + "." + "9" * 12
    answer = preview(made[0], {"pricing_model": "per_unit", "unit_price": wide}, wide)
    assert Fraction(answer["unrounded"]) == Fraction(wide) ** 2


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e-400", "9" * 61, "true", '"1e3"', '"0x10"', '"1_000"', '"١"'])
def test_M1_a_number_that_cannot_be_kept_is_refused_by_its_field(made: Made, number: str) -> None:
    answer = preview_as_text(made[0], number)
    assert (answer.status_code, answer.json()["field"]) == (422, "price.unit_price"), answer.text


def test_a_changed_price_is_a_new_version_and_the_history_stays_readable(tenant: Tenant) -> None:
    plan = catalogue(tenant)["plan"]
    price = plan["prices"][0]["id"]
    tiers = [{"up_to": "100", "unit_price": "0.02"}, {"up_to": None, "unit_price": "0.01"}]
    changed = patch(tenant, f"prices/{price}", {"tiers": tiers, "discount_percent": "10"})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["version"], changed.json()["apply_to"]) == (2, "next_period")
    again = patch(tenant, f"prices/{price}", {"discount_percent": "10"}).json()
    assert again == changed.json() == tenant.get(f"prices/{price}").json()
    future = {"discount_percent": None, "effective_from": "2199-01-01T00:00:00Z"}
    assert patch(tenant, f"prices/{price}", future).json()["version"] == 3
    assert tenant.get(f"prices/{price}").json()["version"] == 2
    assert tenant.get(f"plans/{plan['id']}").json()["prices"][0]["version"] == 2
    [third, second, first] = tenant.get(f"prices/{price}/versions").json()["items"]
    assert (second["price"]["discount_percent"], "discount_percent" in third["price"]) == ("10", False)
    assert first["price"] == plan["prices"][0]["price"]
    assert (first["apply_to"], first["effective_from"]) == ("every_period", plan["created_at"])


def test_a_price_is_added_to_a_plan_listed_and_archived(stack: Stack, tenant: Tenant, plan: dict[str, Any]) -> None:
    body = {"plan_id": plan["key"], "feature_id": "api_calls", "pricing_model": "per_unit", "unit_price": "0.5"}
    once = {"Idempotency-Key": "add-1"}
    added = tenant.post("prices", body, headers=once)
    assert (added.status_code, added.json()["currency"], added.json()["display_name"]) == (201, "USD", "API Calls")
    assert tenant.post("prices", body, headers=once).json() == added.json()
    price = added.json()["id"]
    assert [p["id"] for p in tenant.get(f"plans/{plan['id']}").json()["prices"]] == [plan["prices"][0]["id"], price]
    archived = tenant.make(f"prices/{price}/archive", None)
    assert (archived["status"], archived["version"]) == ("archived", 2)
    assert tenant.make(f"prices/{price}/archive", {}) == archived
    assert [p["id"] for p in tenant.get(f"plans/{plan['id']}").json()["prices"]] == [plan["prices"][0]["id"]]
    listed = tenant.get("prices", params={"plan_id": plan["key"]}).json()["items"]
    assert [(p["id"], p["status"]) for p in listed] == [(price, "archived"), (plan["prices"][0]["id"], "active")]
    assert patch(tenant, f"prices/{price}", {"unit_price": "1"}).json()["code"] == "price_archived"
    with stack.ledger.read() as session:
        noted = audit.list_entries(session, tenant.scope, entity="price", entity_id=price).items
    actor = tenant.get("me").json()["key_id"]
    assert [(entry.action, entry.actor, entry.detail["version"]) for entry in noted] == [
        ("price.archived", actor, 2),
        ("price.added", actor, 1),
    ]


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        pytest.param({"currency": "EUR"}, "price_currency_differs", "currency", id="currency"),
        pytest.param({"billing_period": "P1Y"}, "price_period_differs", "billing_period", id="period"),
        pytest.param({"feature_id": "sso"}, "fixed_field", "feature_id", id="feature"),
        pytest.param({"feature_id": None}, "fixed_field", "feature_id", id="no feature"),
        pytest.param({"plan_id": "another"}, "fixed_field", "plan_id", id="plan"),
        pytest.param(
            {"transform_quantity": {"divide_by": "1000"}}, "pricing_unit_fixed", "transform_quantity", id="scale"
        ),
        pytest.param({"pricing_model": "flat", "amount": "5"}, "pricing_unit_fixed", "pricing_model", id="flat"),
        pytest.param({"pricing_model": "percentage", "rate": "5"}, "pricing_unit_fixed", "pricing_model", id="rate"),
        pytest.param({"unit_price": "1"}, "field_not_for_model", "unit_price", id="unit price beside old tiers"),
        pytest.param({"tiers": [{"up_to": "5", "unit_price": "1"}]}, "tiers_not_open", "tiers[0].up_to", id="tiers"),
        pytest.param({"minimum_amount": "-1"}, "out_of_range", "minimum_amount", id="negative"),
        pytest.param({"effective_from": "2024-01-20"}, "not_a_time", "effective_from", id="time"),
    ],
)
def test_an_edit_never_changes_silently_what_a_price_is_a_price_of(
    made: Made, body: dict[str, Any], code: str, field: str
) -> None:
    tenant, things = made
    price = things["plan"]["prices"][0]["id"]
    answer = patch(tenant, f"prices/{price}", body)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, code, field)
    assert answer.json()["hint"]
    assert tenant.get(f"prices/{price}/versions").json()["items"][1:] == []


def test_a_price_may_be_sent_back_as_it_was_read(made: Made) -> None:
    tenant, things = made
    price = tenant.get(f"prices/{things['plan']['prices'][0]['id']}").json()
    same = {name: price[name] for name in ("plan_id", "feature_id", "currency", "billing_period", "display_name")}
    assert patch(tenant, f"prices/{price['id']}", {**same, **price["price"]}).json() == price


def test_a_slip_that_is_put_right_before_anybody_subscribed_bills_nothing(tenant: Tenant, plan: dict[str, Any]) -> None:
    price = plan["prices"][0]["id"]
    changed = patch(tenant, f"prices/{price}", {"discount_percent": "10"}).json()
    assert (changed["version"], changed["apply_to"]) == (2, "every_period")


def test_a_plan_takes_a_hundred_prices_and_no_more(tenant: Tenant) -> None:
    flat = {"pricing_model": "flat", "amount": "1"}
    plan = tenant.make("plans", {"name": "Many", "key": "many", "prices": [flat] * 100})
    refused = tenant.post("prices", {"plan_id": "many", **flat})
    assert (refused.status_code, refused.json()["code"]) == (422, "too_many_prices")
    tenant.make(f"prices/{plan['prices'][0]['id']}/archive", None)
    assert tenant.post("prices", {"plan_id": "many", **flat}).status_code == 201


def test_per_unit_becomes_tiered_and_loses_what_made_it_per_unit(tenant: Tenant, plan: dict[str, Any]) -> None:
    body = {"plan_id": plan["id"], "feature_id": "api_calls", "pricing_model": "per_unit", "unit_price": "0.5"}
    price = tenant.make("prices", body)["id"]
    tiers = [{"up_to": 10, "unit_price": "1"}, {"up_to": None, "flat_fee": "3"}]
    changed = patch(tenant, f"prices/{price}", {"pricing_model": "tiered", "tiers": tiers}).json()
    assert changed["price"] == {
        "pricing_model": "tiered",
        "tier_mode": "graduated",
        "tiers": [
            {"up_to": "10", "unit_price": "1", "flat_fee": "0"},
            {"up_to": None, "unit_price": "0", "flat_fee": "3"},
        ],
    }


def test_what_is_archived_takes_nothing_new_and_what_runs_goes_on(tenant: Tenant) -> None:
    things = catalogue(tenant)
    feature, plan = things["feature"]["id"], things["plan"]["id"]
    assert tenant.make(f"features/{feature}/archive", None)["status"] == "archived"
    refused = tenant.post("plans", {**guide_plan(feature), "key": "new"}).json()
    assert (refused["code"], refused["field"]) == ("feature_archived", "prices[0].feature_id")
    assert tenant.make(f"plans/{plan}/archive", None)["status"] == "archived"
    for path, body in (
        ("subscriptions", {"customer_id": "acme_corp_001", "plan_id": plan}),
        ("prices", {"plan_id": plan, "pricing_model": "flat", "amount": "1"}),
    ):
        answer = tenant.post(path, body)
        assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (409, "plan_archived", "plan_id")
    assert tenant.get(f"subscriptions/{things['subscription']['id']}").json()["status"] == "active"
    assert [p["version"] for p in tenant.get(f"plans/{plan}").json()["prices"]] == [1]
    price = things["plan"]["prices"][0]["id"]
    assert patch(tenant, f"prices/{price}", {"discount_percent": "5"}).json()["version"] == 2


def test_a_feature_or_plan_is_renamed_with_its_history_kept(tenant: Tenant, plan: dict[str, Any]) -> None:
    for path in ("features/api_calls", f"plans/{plan['id']}"):
        before = tenant.get(path).json()
        changed = patch(tenant, path, {"name": "Renamed", "description": None}).json()
        assert (changed["name"], changed["description"], changed["version"]) == ("Renamed", None, 2)
        page = tenant.get(f"{path}/versions", params={"limit": 1}).json()
        rest = tenant.get(f"{path}/versions", params={"cursor": page["next_cursor"]}).json()
        assert [item["name"] for item in (*page["items"], *rest["items"])] == ["Renamed", before["name"]]
        again = {name: value for name, value in before.items() if name in FIXED}
        assert patch(tenant, path, again).json() == changed
        for name in again.keys() & OTHERS.keys():
            refused = patch(tenant, path, {name: OTHERS[name]}).json()
            assert (refused["code"], refused["field"]) == ("fixed_field", name)
        assert patch(tenant, path, {"nmae": "x"}).json()["code"] == "unknown_field"
        assert patch(tenant, path, {"name": None}).json()["code"] == "missing_field"
        assert tenant.get(f"{path}/versions", params={"cursor": "x"}).json()["code"] == "cursor_invalid"
