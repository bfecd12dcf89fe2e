"""Discounts and taxes against `tests.support.invoice_model`, which was written from the rules alone."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.adjustments.adjust import Adjusted, DiscountTerms, InvoiceTerms, TaxTerms, adjust
from billing.adjustments.credit import Funds, draw, in_order
from billing.money import from_minor
from tests.support.invoice_model.adjustments import apply_credits, apply_discounts, apply_taxes
from tests.support.invoice_model.lines import Line
from tests.support.invoice_model.periods import Span
from tests.support.ledger_rows import JANUARY, a_line
from tests.support.price_model import EXPONENTS

CURRENCIES = st.sampled_from([*EXPONENTS])
# Lines of either sign, small ones too, where a share of one unit decides.
AMOUNTS = st.lists(st.one_of(st.integers(-20, 60), st.integers(-(10**5), 10**6), st.integers(0, 10**14)), max_size=8)
PERCENTAGES = st.one_of(
    st.sampled_from(["0", "100", "19", "7", "8.875", "9.975", "33.333", "50"]),
    st.decimals(0, 100, places=4).map(str),
)
DISCOUNTS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"percent_off": PERCENTAGES.filter(lambda text: Decimal(text) > 0)}),
        st.fixed_dictionaries({"amount": st.integers(1, 10**6), "currency": CURRENCIES}),
    ),
    max_size=3,
)
RATES = st.lists(st.fixed_dictionaries({"percentage": PERCENTAGES, "inclusive": st.booleans()}), max_size=4)
DAYS = st.integers(1, 28).map(lambda day: datetime(2026, 1, day, tzinfo=UTC))
GRANTS = st.lists(
    st.fixed_dictionaries(
        {
            "remaining": st.integers(0, 5000),
            "priority": st.sampled_from([1, 100, 100]),
            "effective_at": DAYS,
            "expires_at": st.one_of(st.none(), DAYS),
        }
    ),
    max_size=6,
)

Bodies = list[dict[str, Any]]
EXAMPLES = pytest.mark.parametrize("examples", [pytest.param(100), pytest.param(10_000, marks=pytest.mark.slow)])


def with_ids(bodies: Bodies, currency: str) -> Bodies:
    """The drawn terms as a case has them: an id each, amounts in their currency."""
    found = []
    for number, body in enumerate(bodies):
        named = {"id": f"it{number}", **body}
        if "amount" in named:
            named["amount_off"] = str(from_minor(named.pop("amount"), named["currency"]))
        if "remaining" in named:
            named |= {"remaining": str(from_minor(named["remaining"], currency)), "currency": currency}
        found.append(named)
    return found


def adjusted(amounts: list[int], discounts: Bodies, rates: Bodies, currency: str) -> Adjusted:
    taken = tuple(
        DiscountTerms(
            id=body["id"],
            coupon_id=body["id"],
            name="",
            percent_off=Decimal(body["percent_off"]) if "percent_off" in body else None,
            amount_off=Decimal(body["amount_off"]) if "amount_off" in body else None,
            currency=body.get("currency"),
        )
        for body in discounts
    )
    added = tuple(TaxTerms(body["id"], "", Decimal(body["percentage"]), body["inclusive"]) for body in rates)
    lines = [a_line("price_1", f"line{number}", str(from_minor(one, currency))) for number, one in enumerate(amounts)]
    return adjust(lines, InvoiceTerms(taken, added), currency)


@EXAMPLES
def test_discounts_and_taxes_are_those_of_the_model_on_the_invoice_and_on_each_line(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(AMOUNTS, DISCOUNTS, RATES, CURRENCIES)
    def holds(amounts: list[int], some: Bodies, others: Bodies, currency: str) -> None:
        places = EXPONENTS[currency]
        discounts, rates = with_ids(some, currency), with_ids(others, currency)
        real = adjusted(amounts, discounts, rates, currency)
        month = Span(JANUARY.start, JANUARY.end)
        lines = [
            Line(f"line{number}", "price_1", month, Fraction(1), Fraction(one), Fraction(one, 10**places))
            for number, one in enumerate(amounts)
        ]
        off = apply_discounts(lines, discounts, currency, places)
        tax = apply_taxes(lines, rates, places)
        assert [(each.terms.id, Fraction(each.amount)) for each in real.discounts] == off
        assert [(each.terms.id, Fraction(each.amount)) for each in real.taxes] == tax
        for line, wanted in zip(real.lines, lines, strict=True):
            assert {share.id: Fraction(share.amount) for share in line.discounts} == wanted.discounts
            assert {share.id: Fraction(share.amount) for share in line.taxes} == wanted.taxes
            assert (Fraction(line.discount), Fraction(line.tax)) == (wanted.discount, wanted.tax + wanted.inclusive_tax)
        assert Fraction(real.subtotal) == sum((line.amount for line in lines), Fraction(0))
        assert Fraction(real.total) == sum((line.amount - line.discount + line.tax for line in lines), Fraction(0))

    holds()


@EXAMPLES
def test_credits_are_drawn_in_the_order_of_the_model(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(st.integers(-500, 10_000), GRANTS, DAYS, CURRENCIES)
    def holds(total: int, some: Bodies, at: datetime, currency: str) -> None:
        grants = with_ids(some, currency)
        funds = [
            Funds(one["id"], Decimal(one["remaining"]), one["priority"], one["effective_at"], one["expires_at"])
            for one in grants
        ]
        in_turn = [(each.grant_id, each.remaining) for each in in_order(funds, at)]
        drawn, together = draw(from_minor(total, currency), in_turn, currency)
        for one in grants:
            one["effective_at"] = one["effective_at"].isoformat()
            one["expires_at"] = one["expires_at"] and one["expires_at"].isoformat()
        wanted = apply_credits(Fraction(total, 10 ** EXPONENTS[currency]), grants, currency, at)
        assert [(each.grant_id, Fraction(each.amount)) for each in drawn] == wanted
        assert Fraction(together) == sum((amount for _, amount in wanted), Fraction(0))

    holds()
