"""How much one address may send where no key says who it is: so many requests a minute, and then it has to wait."""

import math
from collections import OrderedDict
from datetime import datetime

__all__ = ["SourceLimiter"]

_MOST_SOURCES = 10_000


class SourceLimiter:
    """A bucket per source that holds a minute's worth of requests and is filled evenly.

    Of this process alone, and for one thread. The sources that were not heard of for longest are forgotten first, which
    only ever gives them a full bucket again.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_second = per_minute / 60
        self._most = float(per_minute)
        self._buckets: OrderedDict[str, tuple[float, datetime]] = OrderedDict()

    def wait_seconds(self, source: str, now: datetime) -> int:
        """Takes a request of this source; 0 when it may go on, else after how many seconds the next one may."""
        left, seen_at = self._buckets.pop(source, (self._most, now))
        passed = max(0.0, (now - seen_at).total_seconds())
        left = min(self._most, left + passed * self._per_second)
        admitted = left >= 1
        self._buckets[source] = (left - 1 if admitted else left, max(seen_at, now))
        while len(self._buckets) > _MOST_SOURCES:
            self._buckets.popitem(last=False)
        return 0 if admitted else max(1, math.ceil((1 - left) / self._per_second))
