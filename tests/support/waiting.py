"""Waits on a condition with a limit, never for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(holds: Callable[[], bool], limit_seconds: float = 30.0, look_every_seconds: float = 0.02) -> None:
    """Returns once `holds()`; AssertionError where it does not within the limit."""
    give_up = time.monotonic() + limit_seconds
    while not holds():
        if time.monotonic() > give_up:
            raise AssertionError(f"still not so after {limit_seconds} s")
        time.sleep(look_every_seconds)
