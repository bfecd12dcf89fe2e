"""Which days a run may work on: those that are there."""

from datetime import date

from billing.errors import InvalidInput

__all__ = ["FIRST_DAY", "require_days"]

FIRST_DAY = date(2015, 1, 1)


def require_days(first: date, last: date, today: date) -> None:
    """InvalidInput `range_is_empty`, `day_in_the_future`, `day_too_early`; both days are included."""
    if last < first:
        raise InvalidInput("range_is_empty", f"{last} lies before {first}", field="last_day")
    if last > today:
        hint = f"The last day there is, is today, {today} (UTC)."
        raise InvalidInput("day_in_the_future", f"{last} is not there yet", field="last_day", hint=hint)
    if first < FIRST_DAY:
        raise InvalidInput("day_too_early", f"days begin with {FIRST_DAY}", field="first_day")
