"""Cases of other billing systems (tests/data/vectors) against ours: one runner per file, one test per case."""

import json
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from billing.adjustments.adjust import Adjusted, DiscountTerms, InvoiceTerms, TaxTerms, adjust
from billing.instant import parse_instant
from billing.money import allocate, round_amount
from billing.one_off import OneOffItem, one_off_lines
from billing.period import Period, Schedule, parse_anchor, parse_interval
from billing.price import parse_price
from billing.proration import prorate
from billing.rating import rate

VECTORS = Path(__file__).parents[1] / "data" / "vectors"
NEEDS_A_WAREHOUSE = {"aggregation"}
DAY = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
Case = dict[str, Any]
Answer = dict[str, Any]


def _rating(case: Case) -> Answer:
    rated = rate(parse_price(case["price"]), Decimal(case["quantity"]), case["currency"])
    return {"total": rated.total, "unrounded": rated.unrounded}


def _quantity(case: Case) -> Answer:
    spec = {"pricing_model": "per_unit", "unit_price": "1", "transform_quantity": case["transform_quantity"]}
    transform = parse_price(spec).transform_quantity
    assert transform is not None
    return {"quantity": transform.apply(Decimal(case["quantity"]))}


def _periods(case: Case) -> Answer:
    schedule = Schedule(
        parse_instant(case["anchor"], "anchor"),
        parse_interval(case["interval"]),
        parse_anchor(case.get("billing_anchor", "subscription_start")),
        case.get("timezone", "UTC"),
    )
    if "at" in case:
        period: Period | None = schedule.period_at(parse_instant(case["at"], "at"))
    else:
        period = schedule.last_completed(parse_instant(case["last_completed_at"], "last_completed_at"))
    assert period is not None
    return {"start": period.start, "end": period.end}


def _proration(case: Case) -> Answer:
    service, full = (
        Period(*(parse_instant(text, name) for text in case[name])) for name in ("service_period", "full_period")
    )
    return {"amount": round_amount(prorate(Decimal(case["amount"]), service, full), case["currency"])}


def _allocation(case: Case) -> Answer:
    weights = [Decimal(weight) for weight in case["weights"]]
    return {"parts": allocate(Decimal(case["amount"]), weights, case["currency"])}


def _rounding(case: Case) -> Answer:
    return {"rounded": round_amount(Decimal(case["amount"]), case["currency"])}


def _discounts(case: Case) -> Answer:
    terms = {name: Decimal(case[name]) for name in ("percent_off", "amount_off") if name in case}
    discount = DiscountTerms("disc_1", "coupon_1", "", currency=case["currency"], **terms)
    made = _adjusted(case["amount"], InvoiceTerms(discounts=(discount,)), case["currency"])
    return {"discount": made.discount_total, "amount": made.total}


def _taxes(case: Case) -> Answer:
    rates = tuple(TaxTerms(f"tax_{n}", "", Decimal(each), False) for n, each in enumerate(case["rates"]))
    return {"tax": _adjusted(case["taxable"], InvoiceTerms(taxes=rates), case["currency"]).tax_total}


def _adjusted(amount: str, terms: InvoiceTerms, currency: str) -> Adjusted:
    """An invoice of one line."""
    item = OneOffItem("", amount=Decimal(amount))
    day = Period(*(parse_instant(text, "day") for text in DAY))
    return adjust(one_off_lines([item], currency, day), terms, currency)


RUNNERS: dict[str, Callable[[Case], Answer]] = {
    "rating": _rating,
    "quantity": _quantity,
    "periods": _periods,
    "proration": _proration,
    "allocation": _allocation,
    "rounding": _rounding,
    "discounts": _discounts,
    "taxes": _taxes,
}


def _cases() -> list[Any]:
    return [
        pytest.param(run, case, id=f"{name}-{case['id']}")
        for name, run in RUNNERS.items()
        for case in json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    ]


def _read(expected: object, answer: object) -> object:
    """The expected text as the kind of value that the answer is."""
    if isinstance(answer, list):
        assert isinstance(expected, list)
        return [Decimal(part) for part in expected]
    if isinstance(answer, Decimal | Fraction):
        return Decimal(str(expected))
    return parse_instant(str(expected), "expected")


@pytest.mark.parametrize(("run", "case"), _cases())
def test_the_case_of_another_system_holds_here(run: Callable[[Case], Answer], case: Case) -> None:
    answer = run(case)
    for name, expected in case["expected"].items():
        assert answer[name] == _read(expected, answer[name]), case["note"]


def test_money_is_written_with_the_decimals_of_its_currency() -> None:
    cases = json.loads((VECTORS / "rating.json").read_text(encoding="utf-8"))
    assert {str(_rating(case)["total"]) == case["expected"]["total"] for case in cases} == {True}


def test_every_file_of_vectors_is_run() -> None:
    assert {path.stem for path in VECTORS.glob("*.json")} - NEEDS_A_WAREHOUSE == set(RUNNERS)
