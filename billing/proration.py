"""The part of a period that was served, by elapsed time (an hour lost to summer time was not served)."""

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final

from billing.period import Period

_TICK: Final = timedelta(microseconds=1)


def share(service: Period, full: Period) -> Fraction:
    """How much of `full` the service lasted, exact; never more than all of it.

    >>> from datetime import UTC, datetime
    >>> january = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    >>> share(Period(datetime(2026, 1, 17, tzinfo=UTC), january.end), january)
    Fraction(15, 31)
    """
    return min(Fraction(service.length // _TICK, full.length // _TICK), Fraction(1))


def prorate(amount: Decimal, service: Period, full: Period) -> Fraction:
    """The service's share of an amount that is due for the full period, unrounded; `money.round_amount` rounds it.

    Proration never makes an amount larger.
    """
    return Fraction(amount) * share(service, full)
