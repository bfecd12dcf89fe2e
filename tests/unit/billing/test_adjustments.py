"""Discounts, bounds and taxes at their edges; the plain cases are in the vectors."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from billing.adjustments.commitment import at_least, at_most
from billing.adjustments.discount import amount_off, percent_off
from billing.adjustments.tax import exclusive
from billing.period import Period
from billing.proration import prorate, share


def test_a_discount_never_turns_an_amount_into_a_debt() -> None:
    assert amount_off(Decimal("10.00"), Decimal(-5), "USD") == (Decimal("0.00"), Decimal("10.00"))
    assert percent_off(Decimal("10.00"), Decimal(100), "USD") == (Decimal("10.00"), Decimal("0.00"))
    assert percent_off(Decimal("-10.00"), Decimal(50), "USD") == (Decimal("0.00"), Decimal("-10.00"))


def test_bounds_are_rounded_to_the_currency() -> None:
    assert str(at_most(Decimal("9.00"), Decimal("1.005"), "USD")) == "1.01"
    assert str(at_least(Decimal(0), Decimal("1.5"), "JPY")) == "2"


def test_M2_each_tax_is_rounded_and_then_summed() -> None:
    taxed = exclusive(Decimal("0.10"), [Decimal(5), Decimal(5)], "USD")
    assert (taxed.parts, taxed.tax) == ((Decimal("0.01"), Decimal("0.01")), Decimal("0.02"))
    assert str(exclusive(Decimal("10.00"), [], "USD").tax) == "0.00"


def test_proration_is_by_elapsed_time_not_by_days_on_the_calendar() -> None:
    # March in New York: 743 hours, for an hour is lost on the 10th.
    march = Period(datetime(2024, 3, 1, 5, tzinfo=UTC), datetime(2024, 4, 1, 4, tzinfo=UTC))
    rest = Period(datetime(2024, 3, 31, 4, tzinfo=UTC), march.end)
    assert share(rest, march) == Fraction(24, 743)
    assert prorate(Decimal(743), rest, march) == 24
