"""The pace at which the provider is called: one for all processes that share an account, kept in the ledger.

A process takes a few turns at a time, more of them the busier it is, so that the ledger is asked some times a second
and not for each call. A turn is one of the account's and one of the call's own kind: the provider limits both.
"""

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from billing.ports import CallPace, ProviderUnavailable
from ledger.db import Ledger
from ledger.store import call_paces
from ledger.store.connections import ConnectionRecord
from pipelines.steps.sync_config import calls_per_second, endpoint_calls_per_second

__all__ = ["CallPaces"]

# So much of a second is taken at once by whoever is busy; a turn that is older than this is over.
_AT_ONCE = timedelta(milliseconds=500)
_LONGEST_WAIT = timedelta(seconds=60)
_SHORTEST_REST = timedelta(seconds=1)


class CallPaces:
    """The paces of all connections of a process. `clock` is the time, `sleep` waits for seconds. Safe between threads;
    clocks of machines that share a ledger have to agree to some hundredths of a second."""

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime], sleep: Callable[[float], None]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._sleep = sleep
        self._known: dict[str, _Pace] = {}
        self._lock = threading.Lock()

    def of(self, connection: ConnectionRecord) -> CallPace:
        """The pace of a connection's account, by its present settings."""
        config, live = connection.sync_config, connection.livemode
        name = f"{connection.account_id or connection.id}:{'live' if live else 'test'}"
        with self._lock:
            pace = self._known.get(name)
            if pace is None:
                pace = self._known[name] = _Pace(self._ledger, name, self._clock, self._sleep)
        pace.limits = calls_per_second(config, live=live), endpoint_calls_per_second(config)
        return pace


class _Pace:
    def __init__(
        self, ledger: Ledger, name: str, clock: Callable[[], datetime], sleep: Callable[[float], None]
    ) -> None:
        self.limits = (1, 1)
        self._ledger = ledger
        self._name = name
        self._clock = clock
        self._sleep = sleep
        self._turns: dict[str, _Turns] = {}
        self._lock = threading.Lock()

    def wait(self, call: str) -> None:
        whole, of_a_kind = self.limits
        now = self._clock()
        at = max(self._of(self._name).next(whole, now), self._of(f"{self._name}:{call}").next(of_a_kind, now))
        if at - now > _LONGEST_WAIT:
            told = "too many calls to the payment provider wait for their turn"
            raise ProviderUnavailable("provider_rate_limited", told, retry_after_seconds=60)
        if at > now:
            self._sleep((at - now).total_seconds())

    def ease(self, call: str | None, seconds: float | None) -> None:
        self._of(self._name if call is None else f"{self._name}:{call}").ease(
            self._clock(), max(timedelta(seconds=seconds or 0), _SHORTEST_REST)
        )

    def _of(self, name: str) -> "_Turns":
        with self._lock:
            if name not in self._turns:
                self._turns[name] = _Turns(self._ledger, name)
            return self._turns[name]


class _Turns:
    """The turns that this process has taken and not used."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self._ledger = ledger
        self._name = name
        self._left: deque[datetime] = deque()
        self._count = 1
        self._taken_at: datetime | None = None
        self._lock = threading.Lock()

    def next(self, per_second: int, now: datetime) -> datetime:
        with self._lock:
            while self._left and self._left[0] < now - _AT_ONCE:
                self._left.popleft()
            if not self._left:
                self._take(per_second, now)
            return self._left.popleft()

    def ease(self, now: datetime, rest: timedelta) -> None:
        with self._lock:
            self._left.clear()
            self._taken_at = None
            self._ledger.run(lambda session: call_paces.ease(session, self._name, now + rest, now))

    def _take(self, per_second: int, now: datetime) -> None:
        busy = self._taken_at is not None and now - self._taken_at <= 2 * _AT_ONCE
        count = min(2 * self._count, int(per_second * _AT_ONCE.total_seconds())) if busy else 1
        self._count, self._taken_at = max(count, 1), now
        first, apart = self._ledger.run(
            lambda session: call_paces.take_turns(session, self._name, self._count, per_second, now)
        )
        self._left.extend(first + number * apart for number in range(self._count))
