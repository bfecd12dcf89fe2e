"""Taxes, coupons and credits over HTTP: what an invoice says of them, and what is refused."""

from __future__ import annotations

from decimal import Decimal
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


def amounts(invoice: dict[str, Any], *names: str) -> list[Any]:
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


def grant(shop: Tenant, amount: str, **more: Any) -> dict[str, Any]:
    body = {"amount": amount, "currency": "USD", **more}
    return shop.make("customers/acme_corp_001/credits", body)


def statement(shop: Tenant) -> list[tuple[str, str, str]]:
    """What happened, oldest first."""
    found = shop.get("customers/acme_corp_001/credits/movements").json()["items"]
    return [(it["kind"], it["amount"], it["balance_after"]) for it in reversed(found)]


def test_credit_pays_an_invoice_when_it_is_final_and_comes_back_when_it_is_void(shop: Tenant) -> None:
    first, gift = grant(shop, "100.00"), grant(shop, "30.00", source="promotional", priority=10)
    draft = one_off(shop)
    assert amounts(draft, "total", "credits_applied", "credits_forecast", "amount_due") == [
        "120.01",
        "0.00",
        "120.01",
        "120.01",
    ]
    final = shop.make(f"invoices/{draft['id']}/finalize", None)
    assert amounts(final, "credits_applied", "amount_due", "payment_status") == ["120.01", "0.00", "paid"]
    # The smaller priority first.
    assert [(it["grant_id"], it["amount"]) for it in final["credits"]] == [
        (gift["id"], "30.00"),
        (first["id"], "90.01"),
    ]
    assert final["credits_forecast"] is None
    again = shop.make(f"invoices/{draft['id']}/recompute", None)
    assert (again["same"], again["reasons"]) == (True, [])
    assert "Credit applied" in shop.get(f"invoices/{draft['id']}/html").text
    shop.make(f"invoices/{draft['id']}/void", {"reason": "Ordered twice"})
    assert statement(shop) == [
        ("granted", "100.00", "100.00"),
        ("granted", "30.00", "130.00"),
        ("applied", "-30.00", "100.00"),
        ("applied", "-90.01", "9.99"),
        ("returned", "90.01", "100.00"),
        ("returned", "30.00", "130.00"),
    ]
    shop.make(f"customers/acme_corp_001/credits/{gift['id']}/void", None)
    answer = shop.get("customers/acme_corp_001/credits").json()
    assert answer["balances"] == [{"currency": "usd", "balance": "100.00", "available": "100.00"}]


def test_what_is_paid_beyond_what_remains_is_kept_as_credit(shop: Tenant) -> None:
    invoice = one_off(shop)
    shop.make(f"invoices/{invoice['id']}/finalize", None)
    money = {"destination_id": invoice["id"], "payment_method_type": "offline", "currency": "USD"}
    shop.make("payments", {**money, "amount": "100.00"})
    payment = shop.make("payments", {**money, "amount": "50.00"})
    paid = shop.get(f"invoices/{invoice['id']}").json()
    assert amounts(paid, "amount_paid", "amount_remaining", "payment_status") == ["120.01", "0.00", "paid"]
    (kept,) = shop.get("customers/acme_corp_001/credits").json()["items"]
    assert (kept["amount"], kept["source"], kept["source_id"]) == ("29.99", "overpayment", payment["id"])
    refused = shop.post("payments", {**money, "amount": "1.00"})
    assert (refused.status_code, refused.json()["code"]) == (409, "invoice_paid")


def test_credit_in_another_currency_or_for_later_pays_nothing(shop: Tenant) -> None:
    grant(shop, "100.00", currency="EUR")
    grant(shop, "100.00", effective_at="2199-01-01T00:00:00Z")
    assert one_off(shop)["credits_forecast"] == "0.00"
    assert shop.get("customers/acme_corp_001/credits").json()["balances"] == [
        {"currency": "eur", "balance": "100.00", "available": "100.00"},
        {"currency": "usd", "balance": "100.00", "available": "0.00"},
    ]


def test_an_invoice_is_credited_by_amount_then_by_line_then_all_that_is_left(shop: Tenant) -> None:
    vat = rate(shop, "19")
    invoice = one_off(shop, tax_rate_ids=[vat])
    path = f"invoices/{invoice['id']}"
    shop.make(f"{path}/finalize", None)
    seen = shop.make(f"{path}/credit-notes/preview", {"reason": "Outage", "amount": "42.81"})
    note = shop.make(f"{path}/credit-notes", {"reason": "Outage", "amount": "42.81"})
    assert amounts(note, "total", "pre_payment", "paid_back") == ["42.81", "42.81", "0.00"]
    assert note["lines"] == seen["lines"]
    assert note["credit_note_number"].endswith("-00001")
    # 42.81 over 115.20 and 57.61 gross; the line below zero has nothing to credit.
    assert [(line["amount"], line["net"], line["taxes"][0]["amount"]) for line in note["lines"]] == [
        ("28.54", "24.77", "3.77"),
        ("14.27", "12.39", "1.88"),
    ]
    left = shop.get(path).json()
    assert amounts(left, "amount_credited", "amount_due", "amount_remaining") == ["42.81", "142.81", "100.00"]
    first, second, _ = [line["id"] for line in invoice["line_items"]]
    over = shop.post(f"{path}/credit-notes", {"reason": "x", "lines": [{"line_id": second, "amount": "43.35"}]})
    assert (over.status_code, over.json()["code"], over.json()["field"]) == (422, "amount_over_left", "lines[0].amount")
    shop.make(f"{path}/credit-notes", {"reason": "Not held", "lines": [{"line_id": second, "share": "1"}]})
    rest = shop.make(f"{path}/credit-notes", {"reason": "All of it"})
    assert [line["line_id"] for line in rest["lines"]] == [first, invoice["line_items"][2]["id"]]
    done = shop.get(path).json()
    assert amounts(done, "amount_credited", "amount_remaining", "payment_status") == ["142.81", "0.00", "paid"]
    notes = shop.get(f"credit-notes?invoice_id={invoice['id']}").json()["items"]
    assert sum(Decimal(it["tax_total"]) for it in notes) == Decimal("22.80")
    refused = shop.post(f"{path}/credit-notes", {"reason": "More"})
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_left")
    assert shop.post(f"{path}/void", {"reason": "x"}).json()["code"] == "invoice_credited"
    assert shop.make(f"{path}/recompute", None)["same"] is True


def test_a_credit_note_on_what_is_paid_becomes_credit_and_is_void_while_that_is_unspent(shop: Tenant) -> None:
    invoice = one_off(shop)
    path = f"invoices/{invoice['id']}"
    shop.make(f"{path}/finalize", None)
    money = {"destination_id": invoice["id"], "payment_method_type": "offline", "currency": "USD"}
    shop.make("payments", {**money, "amount": "120.01"})
    refund = shop.make(f"{path}/credit-notes", {"reason": "x", "amount": "20.00", "settle_as": "refund"})
    assert amounts(refund, "paid_back", "settle_as") == ["20.00", "refund"]
    assert shop.get("customers/acme_corp_001/credits").json()["items"] == []
    note = shop.make(f"{path}/credit-notes", {"reason": "x", "amount": "50.00"})
    assert amounts(note, "pre_payment", "credit_returned", "paid_back") == ["0.00", "0.00", "50.00"]
    assert shop.get("customers/acme_corp_001/credits").json()["balances"][0]["available"] == "50.00"
    voided = shop.make(f"credit-notes/{note['id']}/void", {"reason": "Wrong invoice"})
    assert amounts(voided, "status", "void_reason") == ["void", "Wrong invoice"]
    assert shop.get("customers/acme_corp_001/credits").json()["balances"][0]["available"] == "0.00"
    assert shop.get(path).json()["amount_credited"] == "20.00"
    spent = shop.make(f"{path}/credit-notes", {"reason": "x", "amount": "50.00"})
    shop.make(f"invoices/{one_off(shop)['id']}/finalize", None)
    refused = shop.post(f"credit-notes/{spent['id']}/void", {"reason": "x"})
    assert (refused.status_code, refused.json()["code"]) == (409, "credit_used")


def test_credit_that_paid_an_invoice_comes_back_before_money(shop: Tenant) -> None:
    grant(shop, "30.00")
    invoice = one_off(shop)
    path = f"invoices/{invoice['id']}"
    shop.make(f"{path}/finalize", None)
    note = shop.make(f"{path}/credit-notes", {"reason": "x", "amount": "100.00"})
    assert amounts(note, "pre_payment", "credit_returned", "paid_back") == ["90.01", "9.99", "0.00"]
    assert statement(shop)[-1] == ("returned", "9.99", "9.99")


def test_a_credit_note_is_issued_once_per_idempotency_key(shop: Tenant) -> None:
    invoice = one_off(shop)
    shop.make(f"invoices/{invoice['id']}/finalize", None)
    body = {"reason": "x", "amount": "1.00"}
    path = f"invoices/{invoice['id']}/credit-notes"
    answers = [shop.post(path, body, headers={"Idempotency-Key": "one"}) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert len(shop.get("credit-notes").json()["items"]) == 1


def test_a_payment_is_given_back_in_parts_and_never_more_than_came_in(shop: Tenant) -> None:
    invoice = one_off(shop)
    shop.make(f"invoices/{invoice['id']}/finalize", None)
    money = {"destination_id": invoice["id"], "payment_method_type": "offline", "currency": "USD", "amount": "120.01"}
    path = f"payments/{shop.make('payments', money)['id']}"
    first = shop.make(f"{path}/refunds", {"amount": "20.01", "reason": "Outage"})
    assert amounts(first, "amount", "status", "reason", "gateway_refund_id") == ["20.01", "succeeded", "Outage", None]
    over = shop.post(f"{path}/refunds", {"amount": "100.01"})
    assert (over.status_code, over.json()["code"], over.json()["field"]) == (422, "amount_over_left", "amount")
    odd = shop.post(f"{path}/refunds", {"amount": "0.001"})
    assert (odd.status_code, odd.json()["field"]) == (422, "amount")
    shop.make(f"{path}/refunds", {})
    seen = shop.get(path).json()
    assert amounts(seen, "payment_status", "amount_refunded") == ["refunded", "120.01"]
    assert sorted(refund["amount"] for refund in seen["refunds"]) == ["100.00", "20.01"]
    assert shop.get(f"invoices/{invoice['id']}").json()["payment_status"] == "refunded"
    nothing = shop.post(f"{path}/refunds", {})
    assert (nothing.status_code, nothing.json()["code"]) == (409, "nothing_left")
