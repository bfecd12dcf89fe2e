"""Repeats a read that found the warehouse unavailable: a few times, each wait longer, never in step with others."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from billing.errors import Unavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retry:
    """At most `attempts` tries; the n-th wait is random between half of and all of `first_wait_seconds` * 2**n."""

    attempts: int = 3
    first_wait_seconds: float = 0.1
    sleep: Callable[[float], None] = time.sleep

    def run(self, read: Callable[[], T]) -> T:
        """The result of `read`, which must be safe to repeat; raises its last Unavailable."""
        for attempt in range(self.attempts - 1):
            try:
                return read()
            except Unavailable:
                longest = self.first_wait_seconds * 2**attempt
                self.sleep(random.uniform(longest / 2, longest))  # noqa: S311 -- spreads retries, guards nothing
        return read()


READS = Retry()
