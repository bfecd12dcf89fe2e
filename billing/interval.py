"""How long a billing period is: a count of days, weeks, months or years of the local calendar."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from billing.errors import InvalidInput


class IntervalUnit(StrEnum):
    DAY = "D"
    WEEK = "W"
    MONTH = "M"
    YEAR = "Y"


# A hundred years of each: long enough for any contract, short enough for the calendar to hold it.
_MOST: Final = {IntervalUnit.DAY: 36_500, IntervalUnit.WEEK: 5_200, IntervalUnit.MONTH: 1_200, IntervalUnit.YEAR: 100}

_WORDS: Final = {
    "day": "P1D",
    "daily": "P1D",
    "week": "P1W",
    "weekly": "P1W",
    "month": "P1M",
    "monthly": "P1M",
    "quarter": "P3M",
    "quarterly": "P3M",
    "half_year": "P6M",
    "half_yearly": "P6M",
    "semi_annual": "P6M",
    "semi_annually": "P6M",
    "year": "P1Y",
    "yearly": "P1Y",
    "annual": "P1Y",
    "annually": "P1Y",
}
_ONE_UNIT: Final = re.compile(r"P([0-9]{1,5})([DWMY])")
_YEARS_AND_MONTHS: Final = re.compile(r"P([0-9]{1,3})Y([0-9]{1,4})M")


@dataclass(frozen=True, slots=True)
class Interval:
    """`count` units; a month and a year are as long as the calendar makes them."""

    unit: IntervalUnit
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.count <= _MOST[self.unit]:
            raise InvalidInput(
                "bad_interval",
                f"must be between 1 and {_MOST[self.unit]} ({self.unit.name.lower()}s)",
                field="interval",
            )

    @property
    def months(self) -> int | None:
        """Its length in months, None for days and weeks."""
        return {IntervalUnit.MONTH: self.count, IntervalUnit.YEAR: 12 * self.count}.get(self.unit)

    @property
    def days(self) -> int | None:
        """Its length in local calendar days, None for months and years."""
        return {IntervalUnit.DAY: self.count, IntervalUnit.WEEK: 7 * self.count}.get(self.unit)

    def __str__(self) -> str:
        """ISO 8601, such as P1M."""
        return f"P{self.count}{self.unit}"


def parse_interval(text: str, field: str = "billing_period") -> Interval:
    """An Interval out of a word (`monthly`, `quarter`, …) or an ISO 8601 duration of days, weeks, months or years.

    >>> str(parse_interval("MONTHLY")), str(parse_interval("half-yearly")), str(parse_interval("P1Y6M"))
    ('P1M', 'P6M', 'P18M')
    """
    word = text.strip().upper() if isinstance(text, str) else ""
    iso = _WORDS.get(word.lower().replace("-", "_").replace(" ", "_"), word)
    try:
        if found := _ONE_UNIT.fullmatch(iso):
            return Interval(IntervalUnit(found[2]), int(found[1]))
        if found := _YEARS_AND_MONTHS.fullmatch(iso):
            return Interval(IntervalUnit.MONTH, 12 * int(found[1]) + int(found[2]))
    except InvalidInput as error:
        error.field = field
        raise
    raise InvalidInput(
        "bad_interval",
        "is not a billing period",
        field=field,
        hint="Send daily, weekly, monthly, quarterly, half_yearly or yearly, or an ISO 8601 duration such as P1M.",
    )
