"""When to try failed work again: later each time, never all at once, and not for ever."""

import random
from datetime import datetime, timedelta

FIRST = timedelta(seconds=30)
LONGEST = timedelta(hours=6)


def next_attempt(attempts: int, most: int, now: datetime) -> datetime | None:
    """The moment of the next attempt after `attempts` of them, or None when there have been enough.

    The wait doubles from thirty seconds up to six hours and is jittered over its upper half.
    """
    if attempts >= most:
        return None
    doubled: timedelta = FIRST * 2 ** min(attempts - 1, 20)
    longest = min(LONGEST, doubled)
    return now + longest * random.uniform(0.5, 1)  # noqa: S311 - spreads load, guards nothing
