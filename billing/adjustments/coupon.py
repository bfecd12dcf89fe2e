"""Coupons: what they take off, and which periods a coupon that was given counts for."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from billing.adjustments.discount import Discounted, amount_off, percent_off
from billing.errors import InvalidInput
from billing.money import currency_in_use, to_minor
from billing.period import Period, Schedule

__all__ = ["CouponTerms", "Duration", "check_terms", "in_force", "take_off", "within_first"]

_HUNDRED = Decimal(100)


class Duration(StrEnum):
    """For how many periods a coupon counts."""

    ONCE = "once"
    REPEATING = "repeating"
    FOREVER = "forever"


@dataclass(frozen=True)
class CouponTerms:
    """Either `percent_off`, or `amount_off` in `currency`; `periods` with a repeating one only."""

    percent_off: Decimal | None
    amount_off: Decimal | None
    currency: str | None
    duration: Duration
    periods: int | None = None


def check_terms(terms: CouponTerms) -> CouponTerms:
    """The terms, if they make sense. InvalidInput `percent_or_amount`, `out_of_range`, `currency_needed`,
    `periods_needed`, `periods_not_allowed`, and those of a currency and its smallest unit.
    """
    if (terms.percent_off is None) == (terms.amount_off is None):
        raise InvalidInput(
            "percent_or_amount",
            "A coupon takes either percent_off or amount_off.",
            field="percent_off",
            hint="Send exactly one of the two.",
        )
    if terms.percent_off is not None and not 0 < terms.percent_off <= _HUNDRED:
        raise InvalidInput("out_of_range", "must be above 0 and at most 100", field="percent_off")
    if terms.amount_off is not None:
        if terms.currency is None:
            raise InvalidInput(
                "currency_needed", "is needed with amount_off", field="currency", hint='Send a code such as "USD".'
            )
        if terms.amount_off <= 0:
            raise InvalidInput("out_of_range", "must be above 0", field="amount_off")
        to_minor(terms.amount_off, currency_in_use(terms.currency), "amount_off")
    elif terms.currency is not None:
        raise InvalidInput(
            "currency_not_allowed", "A percentage has no currency.", field="currency", hint="Leave it out."
        )
    if terms.duration is Duration.REPEATING and (terms.periods is None or terms.periods < 1):
        raise InvalidInput(
            "periods_needed", "A repeating coupon says for how many periods.", field="periods", hint="Send 1 or more."
        )
    if terms.duration is not Duration.REPEATING and terms.periods is not None:
        raise InvalidInput(
            "periods_not_allowed", "Only a repeating coupon counts periods.", field="periods", hint="Leave it out."
        )
    return terms


def take_off(amount: Decimal, percent: Decimal | None, fixed: Decimal | None, currency: str) -> Discounted:
    """One coupon off what is left; nothing off an amount that is not above zero."""
    if percent is not None:
        return percent_off(amount, percent, currency)
    return amount_off(amount, fixed or Decimal(0), currency)


def in_force(start: datetime, end: datetime | None, period: Period) -> bool:
    """Whether a discount that holds in [start, end) counts for a period: it has to hold when the period ends.

    >>> from datetime import UTC
    >>> may = Period(datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC))
    >>> in_force(datetime(2026, 5, 20, tzinfo=UTC), None, may)
    True
    >>> in_force(datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 5, 20, tzinfo=UTC), may)
    False
    """
    return start < period.end and (end is None or end >= period.end)


def within_first(periods: int, start: datetime, schedule: Schedule, period: Period) -> bool:
    """Whether `period` is among the first so many of the subscription's grid from the one that runs at `start`.

    Counted on the grid, so that it does not matter which invoices there are yet, and in which order they are priced.
    """
    running = schedule.period_at(max(start, schedule.start))
    for _ in range(periods):
        if period.start < running.end:
            return period.end > running.start
        running = schedule.period_at(running.end)
    return False
