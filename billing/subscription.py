"""What a period of a subscription bills: a pure function of its start, end, trial and the history of its changes.

The period is cut at every moment of change into segments. Nothing else looks at the history.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final, NamedTuple

from billing.period import Period, Schedule

__all__ = ["Change", "ChangeKind", "Life", "Override", "Segment", "SubscriptionStatus", "in_force", "periods_ending_in"]

_TICK: Final = timedelta(microseconds=1)


class SubscriptionStatus(StrEnum):
    """Follows from time alone; `paused` is said before `trialing`, since a pause is what somebody asked for."""

    SCHEDULED = "scheduled"
    TRIALING = "trialing"
    ACTIVE = "active"
    PAUSED = "paused"
    CANCELLED = "cancelled"


class ChangeKind(StrEnum):
    """The values of each: `plan_changed` plan_id; `quantity_changed` price_id, quantity; `price_overridden` price_id,
    override_id and override_version, both null to take it away; `cancelled` end_date, previous_end_date;
    `cancellation_withdrawn` and `change_withdrawn` name the sequence of what they take back. The others have none.
    """

    PLAN_CHANGED = "plan_changed"
    QUANTITY_CHANGED = "quantity_changed"
    PRICE_OVERRIDDEN = "price_overridden"
    PAUSED = "paused"
    RESUMED = "resumed"
    CANCELLED = "cancelled"
    CANCELLATION_WITHDRAWN = "cancellation_withdrawn"
    CHANGE_WITHDRAWN = "change_withdrawn"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One entry of a history that only grows. `withdraws` is the sequence of the entry that this one takes back."""

    sequence: int
    kind: ChangeKind
    effective_at: datetime
    values: Mapping[str, Any] = field(default_factory=dict)
    withdraws: int | None = None


class Override(NamedTuple):
    """The price, in one version, that stands in for a price of the plan."""

    price_id: str
    version: int


@dataclass(frozen=True)
class Segment:
    """A stretch of a period in which nothing changes.

    `quantities` and `overrides` are by the id of the plan's price; a price without a quantity has one. `billed` is
    false in a trial or pause, and `why` says which.
    """

    period: Period
    plan_id: str
    quantities: Mapping[str, Decimal]
    overrides: Mapping[str, Override]
    why: SubscriptionStatus

    @property
    def billed(self) -> bool:
        return self.why is SubscriptionStatus.ACTIVE


@dataclass(frozen=True)
class _State:
    """What holds at a moment. A change of plan begins with one of everything, at the new plan's prices."""

    plan_id: str
    quantities: Mapping[str, Decimal] = field(default_factory=dict)
    overrides: Mapping[str, Override] = field(default_factory=dict)
    paused: bool = False

    def after(self, change: Change) -> "_State":
        values = change.values
        match change.kind:
            case ChangeKind.PLAN_CHANGED:
                return _State(values["plan_id"], paused=self.paused)
            case ChangeKind.QUANTITY_CHANGED:
                return replace(self, quantities={**self.quantities, values["price_id"]: Decimal(values["quantity"])})
            case ChangeKind.PRICE_OVERRIDDEN:
                others = {key: each for key, each in self.overrides.items() if key != values["price_id"]}
                if values["override_id"] is None:
                    return replace(self, overrides=others)
                override = Override(values["override_id"], int(values["override_version"]))
                return replace(self, overrides={**others, values["price_id"]: override})
            case ChangeKind.PAUSED:
                return replace(self, paused=True)
            case ChangeKind.RESUMED:
                return replace(self, paused=False)
            case _:
                return self


@dataclass(frozen=True)
class Life:
    """A subscription to `plan_id` from `start` on, until `end` if there is one, free before `trial_end`."""

    start: datetime
    end: datetime | None
    trial_end: datetime | None
    plan_id: str
    history: Sequence[Change] = ()

    def segments(self, period: Period) -> tuple[Segment, ...]:
        """The part of the period in which the subscription runs, cut at every moment of change; equal neighbours are
        one. None where it runs at no moment of the period.

        >>> from datetime import UTC
        >>> day = lambda number: datetime(2026, 1, number, tzinfo=UTC)
        >>> pause = [Change(sequence=1, kind=ChangeKind.PAUSED, effective_at=day(11)),
        ...          Change(sequence=2, kind=ChangeKind.RESUMED, effective_at=day(21))]
        >>> life = Life(day(1), None, None, "pro", pause)
        >>> [(s.period.start.day, s.period.end.day, s.billed) for s in life.segments(Period(day(1), day(31)))]
        [(1, 11, True), (11, 21, False), (21, 31, True)]
        """
        start, end = max(period.start, self.start), period.end if self.end is None else min(period.end, self.end)
        if start >= end:
            return ()
        found: list[Segment] = []
        for since, until, state in self._stretches(start, end):
            why = self._status(since, state)
            segment = Segment(Period(since, until), state.plan_id, state.quantities, state.overrides, why)
            if found and replace(found[-1], period=segment.period) == segment:
                segment = replace(segment, period=Period(found.pop().period.start, until))
            found.append(segment)
        return tuple(found)

    def segment_at(self, moment: datetime) -> Segment:
        """What holds from a moment on, as a segment that is one tick long; before the start what will hold then."""
        since = max(moment, self.start)
        *_, (_, _, state) = self._stretches(since, since + _TICK)
        period = Period(since, since + _TICK)
        return Segment(period, state.plan_id, state.quantities, state.overrides, self._status(since, state))

    def status_at(self, moment: datetime) -> SubscriptionStatus:
        """A subscription that was ended before it began is cancelled at once."""
        if self.end is not None and self.end <= max(moment, self.start):
            return SubscriptionStatus.CANCELLED
        return SubscriptionStatus.SCHEDULED if moment < self.start else self.segment_at(moment).why

    def _status(self, moment: datetime, state: _State) -> SubscriptionStatus:
        if state.paused:
            return SubscriptionStatus.PAUSED
        in_trial = self.trial_end is not None and moment < self.trial_end
        return SubscriptionStatus.TRIALING if in_trial else SubscriptionStatus.ACTIVE

    def _stretches(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime, _State]]:
        """The time from start to end, cut at every change and where the trial ends, with what holds in each piece."""
        changes = sorted(in_force(self.history), key=lambda change: (change.effective_at, change.sequence))
        moments = {change.effective_at for change in changes} | {self.trial_end or start}
        cuts = [start, *sorted(moment for moment in moments if start < moment < end), end]
        state, following = _State(self.plan_id), 0
        for since, until in pairwise(cuts):
            while following < len(changes) and changes[following].effective_at <= since:
                state = state.after(changes[following])
                following += 1
            yield since, until, state


def in_force(history: Iterable[Change]) -> list[Change]:
    """The changes that nobody has withdrawn, without the withdrawals."""
    changes = list(history)
    withdrawn = {change.withdraws for change in changes if change.withdraws is not None}
    return [change for change in changes if change.withdraws is None and change.sequence not in withdrawn]


def periods_ending_in(schedule: Schedule, ends: datetime | None, start: datetime, end: datetime) -> Iterator[Period]:
    """The billing periods whose end e is in [start, end): those of the schedule, the last one cut at `ends`."""
    if ends is None or ends >= end:
        yield from schedule.ending_in(start, end)
        return
    # Nothing begins at the end or after it.
    yield from schedule.ending_in(start, ends)
    if ends >= start and ends > schedule.start:
        last = schedule.period_at(ends - _TICK)
        yield Period(last.start, ends)
