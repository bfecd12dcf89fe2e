"""Sandbox time: one clock per account, running or frozen, that drives expiry, retries, key ageing and search lag."""

import sqlite3
import time

from integrations.stripe.sandbox.errors import invalid


def read(row: sqlite3.Row) -> float:
    """Seconds since the epoch on the clock of an `accounts` row."""
    frozen: float | None = row["frozen_at"]
    return frozen if frozen is not None else time.time() + float(row["clock_offset"])


def state(row: sqlite3.Row) -> dict[str, object]:
    return {"now": read(row), "frozen": row["frozen_at"] is not None}


def moved(row: sqlite3.Row, *, freeze: bool | None, set_to: float | None, advance: float) -> tuple[float | None, float]:
    """The new (frozen_at, clock_offset). `freeze` None keeps the clock running or standing as it is.

    Raises 400 when the clock would go backwards: created times and idempotency ages assume that it does not.
    """
    now = read(row)
    target = (now if set_to is None else set_to) + advance
    if target < now - 1:
        raise invalid("The sandbox clock does not go backwards; reset the account instead.", "set")
    frozen = row["frozen_at"] is not None if freeze is None else freeze
    return (target, 0.0) if frozen else (None, target - time.time())
