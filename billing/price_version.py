"""Which version of a price a period is billed by: a function of what is recorded, never of the moment of asking.

A version says from when it holds and which period it reaches first:

- `every_period`: the price came with its plan; it holds in every period that no later version claims, also in those of
  a subscription that began before the plan was entered.
- `next_period`: it holds in the periods that begin at `effective_from` or later; the running one keeps its version.
- `running_period`: it holds in the whole of the period in which `effective_from` lies as well.

Of the versions that hold, the one with the latest `effective_from` bills, the later version where two have the same.
An archived version ends the price: no other one holds where it does.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeVar

from billing.period import Period

__all__ = ["ApplyTo", "PriceStatus", "Versioned", "billed_in", "in_force_at"]


class ApplyTo(StrEnum):
    EVERY_PERIOD = "every_period"
    NEXT_PERIOD = "next_period"
    RUNNING_PERIOD = "running_period"


class PriceStatus(StrEnum):
    ACTIVE = "active"
    ARCHIVED = "archived"


class Versioned(Protocol):
    """What a version has to say about itself."""

    @property
    def version(self) -> int: ...

    @property
    def status(self) -> PriceStatus: ...

    @property
    def effective_from(self) -> datetime: ...

    @property
    def apply_to(self) -> ApplyTo: ...


V = TypeVar("V", bound=Versioned)


def billed_in(versions: Iterable[V], period: Period) -> V | None:
    """The version of one price that bills `period`; None where the price is archived by then or not there yet."""
    chosen = _last([version for version in versions if _reaches(version, period)])
    return None if chosen is None or chosen.status is PriceStatus.ARCHIVED else chosen


def in_force_at(versions: Iterable[V], moment: datetime) -> V | None:
    """The version of one price that holds at `moment`, an archived one included; None before its first."""
    return _last([v for v in versions if v.apply_to is ApplyTo.EVERY_PERIOD or v.effective_from <= moment])


def _reaches(version: Versioned, period: Period) -> bool:
    match version.apply_to:
        case ApplyTo.EVERY_PERIOD:
            return True
        case ApplyTo.NEXT_PERIOD:
            return version.effective_from <= period.start
        case ApplyTo.RUNNING_PERIOD:
            return version.effective_from < period.end


def _last(versions: list[V]) -> V | None:
    return max(versions, key=_rank, default=None)


def _rank(version: Versioned) -> tuple[bool, bool, datetime, int]:
    came_later = version.apply_to is not ApplyTo.EVERY_PERIOD
    return version.status is PriceStatus.ARCHIVED, came_later, version.effective_from, version.version
