"""Taxes, coupons and credits over HTTP: what an invoice says of them, and what is refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.api_catalog import guide
from tests.support.api_stack import Tenant

LINES = [
    {"display_name": "Onboarding", "amount": "100.00"},
    {"display_name": "Training", "amount": "50.01"},
    {"display_name": "Goodwill", "amount": "-30.00"},
]


@pytest.fixture
def shop(tenant: Tenant) -> Tenant:
    """A tenant with the guide's customer."""
    tenant.make("customers", guide("customers"))
    return tenant


def one_off(shop: Tenant, **more: Any) -> dict[str, Any]:
    body = {"customer_id": "acme_corp_001", "currency": "USD", "lines": LINES, **more}
    return shop.make("invoices", body)


def rate(shop: Tenant, percentage: str, inclusive: bool = False) -> str:
    return str(shop.make("tax-rates", {"name": "VAT", "percentage": percentage, "inclusive": inclusive})["id"])


def patch(shop: Tenant, path: str, body: dict[str, Any]) -> httpx.Response:
    return shop.http.patch(f"/api/v1/{path}", json=body)


def amounts(invoice: dict[str, Any], *names: str) -> list[str]:
    return [invoice[name] for name in names]


def test_an_invoice_is_taxed_by_its_customers_rates_to_the_last_cent(shop: Tenant) -> None:
    vat, city = rate(shop, "19"), rate(shop, "0.5")
    customer = patch(shop, "customers/acme_corp_001", {"tax_rate_ids": [vat, city]}).json()
    assert (customer["tax_rate_ids"], customer["tax_exempt"]) == ([vat, city], False)
    draft = one_off(shop)
    # 19 % and 0.5 % of 120.01, each rounded once.
    assert amounts(draft, "subtotal", "tax_total", "total", "amount_due") == ["120.01", "23.40", "143.41", "143.41"]
    assert [(tax["tax_rate_id"], tax["taxable"], tax["amount"]) for tax in draft["taxes"]] == [
        (vat, "120.01", "22.80"),
        (city, "120.01", "0.60"),
    ]
    # Only lines on the side of the total carry a part: 22.80 over 100.00 and 50.01.
    assert [[tax["amount"] for tax in line["taxes"]] for line in draft["line_items"]] == [
        ["15.20", "0.40"],
        ["7.60", "0.20"],
        ["0.00", "0.00"],
    ]
    final = shop.make(f"invoices/{draft['id']}/finalize", None)
    assert amounts(final, "total", "amount_remaining") == ["143.41", "143.41"]
    again = shop.make(f"invoices/{draft['id']}/recompute", None)
    assert (again["same"], again["recomputed_total"]) == (True, "143.41")
    page = shop.get(f"invoices/{draft['id']}/html").text
    assert "VAT 19 %, of 120.01" in page
    assert "143.41 USD" in page
    assert shop.get(f"invoices/{draft['id']}/pdf").content.startswith(b"%PDF-")


def test_inclusive_taxes_are_in_the_total_already(shop: Tenant) -> None:
    draft = one_off(shop, tax_rate_ids=[rate(shop, "19", inclusive=True)])
    # 120.01 - 120.01 / 1.19
    assert amounts(draft, "subtotal", "tax_total", "total") == ["120.01", "19.16", "120.01"]
    assert draft["taxes"][0]["taxable"] == "100.85"


def test_a_draft_takes_rates_of_its_own_and_a_final_invoice_none(shop: Tenant) -> None:
    vat = rate(shop, "19")
    draft = one_off(shop)
    path = f"invoices/{draft['id']}"
    assert patch(shop, path, {"tax_rate_ids": [vat]}).json()["total"] == "142.81"
    assert patch(shop, path, {"tax_rate_ids": []}).json()["total"] == "120.01"
    assert patch(shop, path, {"tax_rate_ids": [vat]}).json()["total"] == "142.81"
    shop.make(f"invoices/{draft['id']}/finalize", None)
    refused = patch(shop, path, {"tax_rate_ids": []})
    assert (refused.status_code, refused.json()["code"]) == (409, "invoice_not_draft")


def test_an_exempt_customer_is_not_taxed(shop: Tenant) -> None:
    vat = rate(shop, "19")
    patch(shop, "customers/acme_corp_001", {"tax_rate_ids": [vat], "tax_exempt": True})
    assert one_off(shop)["total"] == "120.01"
    assert one_off(shop, tax_rate_ids=[vat])["total"] == "120.01"


def test_rates_that_cannot_be_set_are_refused_with_their_place(shop: Tenant) -> None:
    old = rate(shop, "16")
    shop.make(f"tax-rates/{old}/archive", None)
    for ids, status, code, field in (
        (["tax_none"], 422, "tax_rate_not_found", "tax_rate_ids[0]"),
        ([old], 409, "tax_rate_archived", "tax_rate_ids[0]"),
        ([rate(shop, "1")] * 2, 422, "tax_rate_twice", "tax_rate_ids"),
    ):
        answer = patch(shop, "customers/acme_corp_001", {"tax_rate_ids": ids})
        assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (status, code, field)
    refused = shop.post("tax-rates", {"name": "VAT", "percentage": "100.01"})
    assert (refused.status_code, refused.json()["field"]) == (422, "percentage")


def test_a_coupon_is_made_given_once_and_ended(shop: Tenant) -> None:
    body = {"code": "WELCOME", "name": "Welcome", "amount_off": "5.00", "currency": "usd", "max_redemptions": 1}
    coupon = shop.make("coupons", body)
    assert (coupon["currency"], coupon["duration"], coupon["periods"]) == ("usd", "once", None)
    assert shop.get("coupons/WELCOME").json() == coupon
    given = shop.make("discounts", {"coupon_id": "WELCOME", "customer_id": "acme_corp_001"})
    assert (given["coupon"]["id"], given["subscription_id"], given["ends_at"]) == (coupon["id"], None, None)
    shop.make("customers", {"name": "Other", "customer_id": "other"})
    refused = shop.post("discounts", {"coupon_id": "WELCOME", "customer_id": "other"})
    assert (refused.status_code, refused.json()["code"]) == (409, "coupon_used_up")
    assert shop.make(f"discounts/{given['id']}/end", None)["ends_at"] is not None
    assert [it["id"] for it in shop.get("discounts?customer_id=acme_corp_001").json()["items"]] == [given["id"]]
    assert shop.make(f"coupons/{coupon['id']}/archive", None)["status"] == "archived"


def test_a_coupon_that_cannot_be_given_says_why(shop: Tenant) -> None:
    over = {"code": "OVER", "name": "x", "percent_off": "10", "redeem_by": "2020-01-01T00:00:00Z"}
    shop.make("coupons", over)
    shop.make("coupons", {"code": "OPEN", "name": "x", "percent_off": "10", "duration": "forever"})
    shop.make("discounts", {"coupon_id": "OPEN", "customer_id": "acme_corp_001"})
    for body, status, code in (
        ({"coupon_id": "OVER", "customer_id": "acme_corp_001"}, 409, "coupon_expired"),
        ({"coupon_id": "OPEN", "customer_id": "acme_corp_001"}, 409, "coupon_given_already"),
        ({"coupon_id": "OPEN"}, 422, "missing_field"),
        ({"coupon_id": "NONE", "customer_id": "acme_corp_001"}, 422, "coupon_not_found"),
    ):
        answer = shop.post("discounts", body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
