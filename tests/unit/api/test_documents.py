"""An invoice for people: what it shows, as HTML and as PDF, and that the same invoice gives the same bytes."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from api.documents.html import invoice_html
from api.documents.invoice_view import InvoiceView, StepView, view_of
from api.documents.pdf import invoice_pdf
from billing.invoice import BillingReason, InvoiceStatus, PaymentStatus, total
from billing.line_adjustment import LineAdjustment, adjustment_line
from billing.one_off import OneOffItem, one_off_lines
from billing.period import Period
from billing.price import parse_price
from billing.rating import rate
from ledger.store.customers import CustomerRecord
from ledger.store.invoice_lines import LineRecord
from ledger.store.invoice_record import InvoiceRecord

REPO = Path(__file__).parents[3]
PERIOD = Period(datetime(2025, 11, 13, tzinfo=UTC), datetime(2025, 12, 13, tzinfo=UTC))
TIERED = {
    "pricing_model": "tiered",
    "tiers": [
        {"up_to": 1000, "unit_price": "0.01", "flat_fee": "10.00"},
        {"up_to": 10000, "unit_price": "0.008"},
        {"up_to": None, "unit_price": "0.005"},
    ],
}
CUSTOMER = CustomerRecord(
    id="cus_1",
    external_id="acme_corp_001",
    name="Acme & Söhne",
    email="billing@acme.example",
    status="active",
    currency=None,
    timezone=None,
    metadata={"billing_address": "12 Market Street\n\nSan Francisco", "tax_id": "US-12"},
    created_at=PERIOD.start,
)


def a_line(spec: dict[str, Any], quantity: str, name: str = "API calls", currency: str = "USD") -> LineRecord:
    rated = rate(parse_price(spec), Decimal(quantity), currency)
    return LineRecord(
        id=f"line_{name}",
        key=name,
        display_name=name,
        price_type="fixed" if spec["pricing_model"] == "flat" else "usage",
        quantity=Decimal(quantity),
        amount=rated.total,
        unrounded=rated.unrounded,
        period=PERIOD,
        price_id="price_1",
        price_version=1,
        meter_id=None,
        meter_version=None,
        breakdown=rated.breakdown,
        watermark=None,
        quantity_hash=None,
    )


def an_invoice(*lines: LineRecord, **changed: Any) -> InvoiceRecord:
    """Finalized and open."""
    currency = changed.get("currency", "USD")
    lines = lines or (a_line(TIERED, "15420"),)
    amount = total(lines, currency)
    defaults: dict[str, Any] = {
        "id": "inv_1",
        "customer_id": "cus_1",
        "subscription_id": "sub_1",
        "billing_reason": BillingReason.SUBSCRIPTION_CYCLE,
        "number": "INV-202512-00039",
        "status": InvoiceStatus.FINALIZED,
        "payment_status": PaymentStatus.PENDING,
        "currency": currency,
        "subtotal": amount,
        "discount_total": Decimal("0.00"),
        "tax_total": Decimal("0.00"),
        "total": amount,
        "credits_applied": Decimal("0.00"),
        "amount_due": amount,
        "amount_paid": Decimal("0.00"),
        "amount_credited": Decimal("0.00"),
        "pre_payment_credited": Decimal("0.00"),
        "tax_rate_ids": None,
        "discounts": (),
        "taxes": (),
        "credits": (),
        "period": PERIOD,
        "collection_method": "send_invoice",
        "watermark": None,
        "inputs_hash": "h",
        "code_version": "1",
        "finalized_at": PERIOD.end,
        "paid_at": None,
        "voided_at": None,
        "void_reason": None,
        "payment_details": None,
        "stripe_hosted_invoice_url": None,
        "invoice_pdf_url": None,
        "metadata": {},
        "lines": lines,
        "created_at": PERIOD.end,
    }
    return InvoiceRecord(**{**defaults, **changed})


def seen(invoice: InvoiceRecord, customer: CustomerRecord = CUSTOMER) -> InvoiceView:
    return view_of(invoice, customer, "Nimbus Cloud Inc.", is_test=False)


def text_of(pdf: bytes) -> list[str]:
    """The text of each page."""
    return [page.extract_text() for page in PdfReader(BytesIO(pdf)).pages]


def test_a_line_shows_its_period_and_every_tier() -> None:
    (line,) = seen(an_invoice()).lines
    assert (line.name, line.period) == ("API calls", "13 Nov 2025 – 12 Dec 2025")
    assert (line.quantity, line.unit_price, line.amount) == ("15,420", "", "119.10")
    assert line.steps == (
        StepView("up to 1,000: 1,000 × 0.01 + 10.00 fee", "20.00"),
        StepView("up to 10,000: 9,000 × 0.008", "72.00"),
        StepView("above 10,000: 5,420 × 0.005", "27.10"),
    )


@pytest.mark.parametrize(
    ("spec", "quantity", "currency", "shown"),
    [
        pytest.param(
            {"pricing_model": "flat", "amount": "2900"}, "1", "USD", ("1", "2,900.00", "2,900.00", ()), id="flat"
        ),
        pytest.param(
            {"pricing_model": "per_unit", "unit_price": "0.000123"},
            "123456.789",
            "USD",
            ("123,456.789", "0.000123", "15.19", ()),
            id="a unit price keeps its digits",
        ),
        pytest.param(
            {"pricing_model": "package", "package_size": "1000", "package_price": "500"},
            "1500",
            "JPY",
            ("1,500", "500", "1,000", (StepView("billed: 2 × 500", "1,000"),)),
            id="packages",
        ),
        pytest.param(
            {"pricing_model": "per_unit", "unit_price": "0.10", "discount_percent": "10"},
            "1000",
            "USD",
            ("1,000", "0.10", "90.00", (StepView("before discount, maximum and minimum", "100.00"),)),
            id="a discount",
        ),
    ],
)
def test_a_line_shows_how_its_amount_came_about(
    spec: dict[str, Any], quantity: str, currency: str, shown: tuple[object, ...]
) -> None:
    (line,) = seen(an_invoice(a_line(spec, quantity, currency=currency), currency=currency)).lines
    assert (line.quantity, line.unit_price, line.amount, line.steps) == shown


def test_lines_that_were_made_by_hand_are_shown_like_all_others() -> None:
    items = [
        OneOffItem("Consulting, hours", Decimal("7.5"), unit_price=Decimal("133.33")),
        OneOffItem("Goodwill", amount=Decimal("-99.98")),
    ]
    drafts = one_off_lines(items, "USD", Period(PERIOD.start, datetime(2025, 11, 14, tzinfo=UTC)))
    view = seen(an_invoice(*(LineRecord(id=draft.key, **vars(draft)) for draft in drafts)))
    assert [(line.period, line.quantity, line.unit_price, line.amount, line.steps) for line in view.lines] == [
        ("13 Nov 2025", "7.5", "133.33", "999.98", ()),
        ("13 Nov 2025", "1", "−99.98", "−99.98", ()),
    ]


def test_the_buyer_is_shown_with_what_the_customers_metadata_adds() -> None:
    assert seen(an_invoice()).buyer == (
        "Acme & Söhne",
        "12 Market Street",
        "San Francisco",
        "billing@acme.example",
        "Tax ID US-12",
        "Customer acme_corp_001",
    )


@pytest.mark.parametrize(
    ("changed", "state", "last_total", "payable"),
    [
        pytest.param({}, "Open", ("Amount due", "119.10"), True, id="open"),
        pytest.param(
            {"amount_paid": Decimal("19.10"), "payment_status": PaymentStatus.PARTIALLY_PAID},
            "Partly paid",
            ("Amount due", "100.00"),
            True,
            id="partly paid",
        ),
        pytest.param(
            {"amount_paid": Decimal("119.10"), "payment_status": PaymentStatus.PAID, "paid_at": PERIOD.end},
            "Paid",
            ("Amount due", "0.00"),
            False,
            id="paid",
        ),
        pytest.param(
            {"status": InvoiceStatus.DRAFT, "number": None, "finalized_at": None},
            "Draft",
            ("Amount due", "119.10"),
            False,
            id="draft",
        ),
        pytest.param(
            {"status": InvoiceStatus.VOID, "void_reason": "Ordered twice", "voided_at": PERIOD.end},
            "Void",
            ("Nothing is due", "0.00"),
            False,
            id="void",
        ),
    ],
)
def test_the_state_says_what_is_still_to_pay(
    changed: dict[str, Any], state: str, last_total: tuple[str, str], payable: bool
) -> None:
    view = seen(an_invoice(stripe_hosted_invoice_url="https://invoice.example/i?a=1&b=2", **changed))
    assert (view.state, view.totals[-1], view.pay_url is not None) == (state, last_total, payable)
    if state == "Void":
        assert view.notes == ("This invoice is void and is not to be paid. Reason: Ordered twice",)
    assert ("Pay online" in invoice_html(view)) == payable
    assert ("Pay online" in text_of(invoice_pdf(view))[-1]) == payable


def test_untrusted_text_stays_text_in_both() -> None:
    hostile = "<script>alert(1)</script> <b>&amp; <para>"
    customer = replace(CUSTOMER, name=hostile, metadata={"billing_address": hostile, "tax_id": hostile})
    view = seen(an_invoice(a_line(TIERED, "5", hostile), metadata={"purchase_order": hostile}), customer)
    page = invoice_html(replace(view, seller=hostile, pay_url='https://x.example/"><script>'))
    assert "<script" not in page
    # Title, seller, name, address, tax id, purchase order and line.
    assert page.count("&lt;script&gt;alert(1)") == 7
    (first,) = text_of(invoice_pdf(replace(view, seller=hostile, pay_url='https://x.example/"><script>')))
    assert first.count("alert(1)") >= 5


def test_both_show_every_text_of_the_view() -> None:
    view = seen(an_invoice(a_line({"pricing_model": "flat", "amount": "29"}, "1", "Base"), a_line(TIERED, "15420")))
    page = invoice_html(view)
    (printed,) = text_of(invoice_pdf(view))
    texts = [view.title, view.number, view.seller, *view.buyer[1:], *(text for pair in view.facts for text in pair)]
    for line in view.lines:
        texts += [line.name, line.period, line.quantity, line.amount]
        texts += [text for step in line.steps for text in (step.label, step.amount)]
    texts += [text for pair in view.totals for text in pair]
    assert [text for text in texts if text not in page] == []
    flat = " ".join(printed.split())
    assert [text for text in texts if text not in flat] == []


def test_a_long_invoice_has_its_head_and_its_number_on_every_page() -> None:
    lines = [a_line(TIERED, str(1000 * number + 1), f"Meter {number}") for number in range(60)]
    pages = text_of(invoice_pdf(seen(an_invoice(*lines))))
    assert len(pages) > 3
    for number, page in enumerate(pages[:-1], 1):
        assert "DESCRIPTION" in page
        assert f"Page {number} of {len(pages)}" in page
        assert "INV-202512-00039" in page
    assert "Amount due" in pages[-1]


def test_a_line_of_more_tiers_than_a_page_holds_is_still_printed() -> None:
    tiers = [{"up_to": number, "unit_price": "1"} for number in range(1, 100)]
    spec = {"pricing_model": "tiered", "tiers": [*tiers, {"up_to": None, "unit_price": "1"}]}
    pages = text_of(invoice_pdf(seen(an_invoice(a_line(spec, "500")))))
    assert "above 99: 401" in pages[-1]


def test_a_word_without_an_end_stays_inside_its_column() -> None:
    (page,) = text_of(invoice_pdf(seen(an_invoice(a_line(TIERED, "5", "x" * 255)))))
    assert page.replace("\n", "").count("x") >= 255


def test_letters_that_no_font_has_are_question_marks_and_those_of_asia_are_kept() -> None:
    pdf = invoice_pdf(seen(an_invoice(a_line(TIERED, "5", "Ελλάδα Москва 東京 ひらがな 한국 العربية"))))
    (page,) = text_of(pdf)
    assert "Ελλάδα Москва" in page
    assert "?" * len("العربية") in page
    assert all(name in pdf for name in (b"STSong-Light", b"HeiseiMin-W3", b"HYSMyeongJo-Medium"))


def test_the_same_invoice_is_the_same_pdf_to_the_byte_in_every_process() -> None:
    program = (
        "import hashlib; from tests.unit.api.test_documents import *; "
        "print(hashlib.sha256(invoice_pdf(seen(an_invoice()))).hexdigest())"
    )
    made = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=REPO,
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout.strip()
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    ]
    here = hashlib.sha256(invoice_pdf(seen(an_invoice()))).hexdigest()
    assert made == [here, here]


def test_M5_an_adjustment_says_what_its_line_comes_to_and_what_was_billed_before() -> None:
    adjusted = LineAdjustment(
        id="adj_1",
        display_name="API calls, adjustment of INV-202511-00007",
        period=PERIOD,
        price_id="price_1",
        price_version=1,
        meter_id="meter_1",
        meter_version=1,
        quantity_before=Decimal(900),
        quantity=Decimal(1500),
        billed=Decimal("19.00"),
        due=Decimal("24.00"),
        watermark=PERIOD.end,
        quantity_hash="v1",
    )
    line = LineRecord(id="line_1", **vars(adjustment_line(adjusted)))
    (shown,) = seen(an_invoice(line)).lines
    assert (shown.name, shown.quantity, shown.amount) == ("API calls, adjustment of INV-202511-00007", "600", "5.00")
    assert shown.steps == (StepView("comes to", "24.00"), StepView("billed before", "\N{MINUS SIGN}19.00"))
