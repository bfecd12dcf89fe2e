"""The invoice's own rules: moves, totals, numbers, fingerprints."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from billing.errors import Conflict, InvalidInput
from billing.invoice import (
    INVOICE_MOVES,
    PAYMENT_MOVES,
    InvoiceStatus,
    LineDraft,
    PaymentStatus,
    canonical_json,
    check_move,
    content_hash,
    invoice_number,
    total,
)
from billing.period import Period
from billing.rating import TierUse

JANUARY = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))


def a_line(**more: Any) -> LineDraft:
    line = LineDraft(
        key="price_1",
        display_name="API calls",
        price_type="usage",
        quantity=Decimal(10),
        amount=Decimal("1.00"),
        unrounded=Decimal(1),
        period=JANUARY,
        price_id="price_1",
        price_version=1,
        meter_id="meter_1",
        meter_version=1,
        breakdown=(TierUse(None, Decimal(10), Decimal("0.1"), Decimal(0), Decimal("1.0")),),
        watermark=None,
        quantity_hash=None,
    )
    return replace(line, **more)


def test_M3_a_finalized_invoice_never_becomes_a_draft_again() -> None:
    check_move(INVOICE_MOVES, InvoiceStatus.DRAFT, InvoiceStatus.FINALIZED)
    for new in (InvoiceStatus.DRAFT, InvoiceStatus.FINALIZED):
        with pytest.raises(Conflict) as caught:
            check_move(INVOICE_MOVES, InvoiceStatus.VOID, new)
        assert caught.value.code == "move_not_allowed"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("paid", "pending"),
        ("paid", "failed"),
        ("paid", "processing"),
        ("refunded", "paid"),
        ("partially_paid", "failed"),
    ],
)
def test_S3_money_that_came_in_is_never_forgotten(old: str, new: str) -> None:
    with pytest.raises(Conflict):
        check_move(PAYMENT_MOVES, PaymentStatus(old), PaymentStatus(new))


def test_S3_the_same_state_twice_and_a_second_try_are_fine() -> None:
    for status in PaymentStatus:
        check_move(PAYMENT_MOVES, status, status)
    check_move(PAYMENT_MOVES, PaymentStatus.FAILED, PaymentStatus.PAID)


def test_the_tables_know_every_status() -> None:
    assert set(INVOICE_MOVES) == set(InvoiceStatus)
    assert set(PAYMENT_MOVES) == set(PaymentStatus)


def test_M2_the_total_is_the_sum_of_the_lines() -> None:
    lines = [a_line(amount=Decimal("0.10")), a_line(amount=Decimal("0.20")), a_line(amount=Decimal("-0.05"))]
    assert str(total(lines, "USD")) == "0.25"
    assert str(total([], "KWD")) == "0.000"


def test_M2_a_line_that_was_not_rounded_is_not_summed() -> None:
    with pytest.raises(InvalidInput) as caught:
        total([a_line(), a_line(amount=Decimal("0.001"))], "USD")
    assert (caught.value.code, caught.value.field) == ("not_in_minor_units", "lines[1].amount")


def test_invoice_numbers_sort_by_month_and_may_outgrow_their_width() -> None:
    assert invoice_number("202512", 39) == "INV-202512-00039"
    assert invoice_number("202512", 123_456) == "INV-202512-123456"
    for month, sequence in (("202513", 1), ("2025-1", 1), ("202512", 0)):
        with pytest.raises(ValueError, match="not an invoice number"):
            invoice_number(month, sequence)


def test_M3_equal_contents_have_equal_fingerprints() -> None:
    east = timezone(timedelta(hours=1))
    a = {"at": datetime(2026, 1, 1, tzinfo=UTC), "quantity": Decimal("1.50"), "lines": [a_line()]}
    b = {
        "lines": (a_line(quantity=Decimal("10.0")),),
        "quantity": Decimal("1.5"),
        "at": datetime(2026, 1, 1, 1, tzinfo=east),
    }
    assert content_hash(a) == content_hash(b)
    assert content_hash(a) != content_hash({**a, "lines": [a_line(amount=Decimal("1.01"))]})


def test_M3_the_fingerprint_is_of_plain_sorted_json() -> None:
    assert canonical_json({"ü": [None, True, 1], "a": Decimal("1E+3"), "p": JANUARY}) == (
        '{"a":"1000","p":{"end":"2026-02-01T00:00:00Z","start":"2026-01-01T00:00:00Z"},"\\u00fc":[null,true,1]}'
    )
    assert content_hash({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize("payload", [0.5, {"a": [0.5]}, {1: "a"}, {"a": object()}, {"a": {1, 2}}])
def test_M1_a_float_or_an_unordered_thing_has_no_fingerprint(payload: object) -> None:
    with pytest.raises(TypeError):
        content_hash(payload)
