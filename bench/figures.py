"""What the benchmarks report in common: goals, percentiles, the machine."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

__all__ = ["BenchFailed", "Goal", "Machine", "median", "percentile"]


class BenchFailed(Exception):
    """A benchmark measured something that is not what it was to measure: its figures would mean nothing."""


@dataclass(frozen=True)
class Goal:
    """A figure and its bound, below which (`at_most`) or above which it should be."""

    name: str
    figure: float
    bound: float
    at_most: bool

    @property
    def met(self) -> bool:
        return self.figure <= self.bound if self.at_most else self.figure >= self.bound


@dataclass(frozen=True)
class Machine:
    """Where and when it was measured. `load_average` is that of the minute before: other work slows all figures."""

    cpus: int
    load_average: float
    python: str
    measured_at: str

    @classmethod
    def at(cls, now: datetime) -> Machine:
        return cls(
            cpus=os.cpu_count() or 1,
            load_average=round(os.getloadavg()[0], 2),
            python=platform.python_version(),
            measured_at=now.isoformat(timespec="seconds"),
        )


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least `share` of them do not exceed.

    >>> percentile([4.0, 1.0, 3.0, 2.0], 0.5), percentile([4.0, 1.0, 3.0, 2.0], 0.99)
    (2.0, 4.0)
    """
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def median(values: Sequence[float]) -> float:
    """As `percentile` of a half: one of the values that were measured."""
    return percentile(values, 0.5)
