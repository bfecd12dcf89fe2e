"""Our values as Stripe's parameters and back: every amount exact, every field where the pinned version has it."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from billing.errors import InvalidInput
from billing.period import Period
from billing.ports import (
    CardDetails,
    NewCardSession,
    NewCustomer,
    NewInvoice,
    NewInvoiceLine,
    NewPaymentSession,
    ProviderInvoiceStatus,
    ProviderPaymentStatus,
)
from integrations.stripe import mapping

JANUARY = Period(datetime(2024, 1, 20, tzinfo=UTC), datetime(2024, 2, 20, tzinfo=UTC))


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("118.50", "USD", 11850),
        ("118.5", "usd", 11850),
        ("-0.01", "EUR", -1),
        ("0", "USD", 0),
        ("12345", "JPY", 12345),
        ("1.230", "KWD", 1230),
        ("1.234", "KWD", 1234),
        ("1E+3", "JPY", 1000),
        ("5", "ISK", 500),
        ("40", "MGA", 40),
        ("123456789012345678901234.56", "USD", 12345678901234567890123456),
    ],
)
def test_M1_an_amount_is_stripes_integer_exactly_and_back(amount: str, currency: str, minor: int) -> None:
    assert mapping.to_stripe_amount(Decimal(amount), currency) == minor
    assert mapping.from_stripe_amount(minor, currency) == Decimal(amount)


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("0.005", "USD"),
        ("1.5", "JPY"),
        ("1.2345", "KWD"),
        ("10.50", "MGA"),
        ("0.5", "ISK"),
        ("1", "UGX"),
        ("NaN", "USD"),
    ],
)
def test_M1_an_amount_without_an_exact_integer_is_refused_and_never_rounded(amount: str, currency: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        mapping.to_stripe_amount(Decimal(amount), currency)
    assert refusal.value.code == "amount_not_representable"


@pytest.mark.parametrize(
    ("total", "currency", "reason"),
    [
        ("0", "USD", None),
        ("0.49", "USD", "below_minimum"),
        ("0.50", "USD", None),
        ("0.29", "GBP", "below_minimum"),
        ("49", "JPY", "below_minimum"),
        ("50", "JPY", None),
        ("999999.99", "USD", None),
        ("1000000.00", "USD", "above_maximum"),
        ("1.230", "KWD", None),
        ("1.234", "KWD", "amount_not_chargeable"),
        ("-0.01", "USD", "negative_total"),
        ("0.001", "USD", "amount_not_representable"),
        ("100", "UGX", "amount_not_representable"),
    ],
)
def test_a_total_that_stripe_would_not_collect_as_it_is_is_named(total: str, currency: str, reason: str | None) -> None:
    assert mapping.not_collectable(Decimal(total), currency) == reason


def test_an_invoice_is_created_as_a_draft_that_picks_up_nothing_else() -> None:
    asked = NewInvoice(
        "cus_1", "USD", "charge_automatically", None, "INV-202402-00001", {"tallyhouse_invoice_id": "inv_1"}
    )
    assert mapping.invoice_params(asked) == {
        "customer": "cus_1",
        "currency": "usd",
        "auto_advance": False,
        "collection_method": "charge_automatically",
        "pending_invoice_items_behavior": "exclude",
        "automatic_tax": {"enabled": False},
        "discounts": "",
        "metadata": {"tallyhouse_invoice_id": "inv_1"},
        "custom_fields": [{"name": "Invoice", "value": "INV-202402-00001"}],
    }


def test_an_invoice_that_is_sent_says_when_it_is_due() -> None:
    asked = NewInvoice("cus_1", "USD", "send_invoice", 14, None, {})
    params = mapping.invoice_params(asked)
    assert (params["collection_method"], params["days_until_due"]) == ("send_invoice", 14)
    assert "custom_fields" not in params


def test_a_line_is_our_amount_and_takes_neither_currency_nor_quantity() -> None:
    line = NewInvoiceLine("line_1", "API Calls (1085)" + "x" * 600, Decimal("108.50"), JANUARY)
    (params,) = mapping.line_params("USD", [line])
    assert params.pop("description") == ("API Calls (1085)" + "x" * 600)[:500]
    assert params == {
        "amount": 10850,
        "period": {"start": 1705708800, "end": 1708387200},
        "discountable": False,
        "metadata": {"tallyhouse_line_id": "line_1"},
    }


def test_a_page_to_save_a_card_asks_for_no_money() -> None:
    asked = NewCardSession("cus_1", "https://a.example/ok", "https://a.example/no", {"tallyhouse_session_id": "ses_1"})
    assert mapping.card_session_params(asked) == {
        "mode": "setup",
        "customer": "cus_1",
        "allowed_payment_method_types": ["card"],
        "success_url": "https://a.example/ok",
        "cancel_url": "https://a.example/no",
        "metadata": {"tallyhouse_session_id": "ses_1"},
        "setup_intent_data": {"metadata": {"tallyhouse_session_id": "ses_1"}},
    }


@pytest.mark.parametrize(("save", "usage"), [(True, "off_session"), (False, None)])
def test_a_page_to_pay_carries_our_ids_on_the_payment_and_keeps_the_card_only_if_asked(
    save: bool, usage: str | None
) -> None:
    pages = ("https://a.example/ok", "https://a.example/no")
    asked = NewPaymentSession("cus_1", "JPY", Decimal(12345), "Invoice INV-1", save, *pages, {"k": "v"})
    params = mapping.payment_session_params(asked)
    assert params["line_items"] == [
        {
            "price_data": {"currency": "jpy", "unit_amount": 12345, "product_data": {"name": "Invoice INV-1"}},
            "quantity": 1,
        }
    ]
    assert params["payment_intent_data"].pop("metadata") == {"k": "v"}
    assert params["payment_intent_data"].get("setup_future_usage") == usage
    assert params["allowed_payment_method_types"] == ["card"]


def test_an_email_that_is_gone_is_unset_on_update_and_left_out_on_creation() -> None:
    nameless = NewCustomer("Acme", None, {})
    assert mapping.customer_params(nameless) == {"name": "Acme", "metadata": {}}
    assert mapping.customer_update_params(nameless) == {"name": "Acme", "email": "", "metadata": {}}


def test_an_invoice_is_read_from_where_the_pinned_version_has_its_fields() -> None:
    seen = mapping.invoice(_invoice())
    assert seen.status is ProviderInvoiceStatus.PAID
    assert (seen.total, seen.amount_paid, seen.amount_paid_elsewhere) == (
        Decimal("118.50"),
        Decimal("118.50"),
        Decimal(0),
    )
    assert seen.starting_balance == Decimal("-5.00")
    assert seen.payment_id == "pi_1"
    assert seen.paid_at == datetime(2024, 2, 20, 0, 5, tzinfo=UTC)
    assert seen.customer_id == "cus_1"


def test_an_invoice_without_expanded_payments_has_no_payment_id() -> None:
    body = _invoice()
    del body["payments"]
    assert mapping.invoice(body).payment_id is None


def test_brand_and_last4_are_of_the_card_that_was_charged() -> None:
    seen = mapping.payment(_payment_intent())
    assert seen.card == CardDetails("card", "visa", "4242")
    assert (seen.amount_received, seen.amount_refunded) == (Decimal("118.50"), Decimal("1.00"))
    assert seen.charged_at == datetime(2024, 2, 20, 0, 5, tzinfo=UTC)


def test_a_refused_payment_tells_the_banks_reason_before_stripes() -> None:
    body = _payment_intent() | {
        "status": "requires_payment_method",
        "latest_charge": "ch_1",
        "last_payment_error": {"code": "card_declined", "decline_code": "insufficient_funds", "message": "No funds."},
    }
    seen = mapping.payment(body)
    assert seen.status is ProviderPaymentStatus.REQUIRES_METHOD
    assert (seen.failure_code, seen.failure_message, seen.card) == ("insufficient_funds", "No funds.", None)


def test_a_deleted_customer_is_only_an_id() -> None:
    assert mapping.customer({"id": "cus_1", "object": "customer", "deleted": True}).deleted


def _invoice() -> dict[str, Any]:
    return {
        "id": "in_1",
        "status": "paid",
        "customer": {"id": "cus_1", "object": "customer"},
        "currency": "usd",
        "subtotal": 11850,
        "total": 11850,
        "amount_due": 11350,
        "amount_paid": 11850,
        "amount_paid_off_stripe": 0,
        "amount_remaining": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": -500,
        "auto_advance": False,
        "hosted_invoice_url": "https://invoice.stripe.com/i/x",
        "invoice_pdf": "https://pay.stripe.com/invoice/x/pdf",
        "status_transitions": {"paid_at": 1708387500, "voided_at": None},
        "attempt_count": 1,
        "next_payment_attempt": None,
        "payments": {
            "data": [
                {"is_default": False, "payment": {"type": "payment_intent", "payment_intent": "pi_0"}},
                {"is_default": True, "payment": {"type": "payment_intent", "payment_intent": "pi_1"}},
            ]
        },
    }


def _payment_intent() -> dict[str, Any]:
    return {
        "id": "pi_1",
        "status": "succeeded",
        "currency": "usd",
        "amount": 11850,
        "amount_received": 11850,
        "customer": "cus_1",
        "payment_method": "pm_1",
        "metadata": {},
        "latest_charge": {
            "id": "ch_1",
            "created": 1708387500,
            "paid": True,
            "amount_refunded": 100,
            "payment_method_details": {"type": "card", "card": {"brand": "visa", "last4": "4242"}},
        },
    }
