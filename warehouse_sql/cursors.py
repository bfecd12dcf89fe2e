"""Cursors of lists that are read from the warehouse: an instant, and a number that tells rows of one instant apart."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import Final

from billing.errors import InvalidInput
from warehouse_sql.instants import EPOCH, FAR_FUTURE, from_micros

_MOST: Final = 2**64 - 1


def write_cursor(micros: int, place: str) -> str:
    """
    >>> read_cursor(write_cursor(1767225600000005, "7"))
    (datetime.datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=datetime.timezone.utc), 7)
    """
    return base64.urlsafe_b64encode(json.dumps([micros, int(place)]).encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[datetime, int]:
    """InvalidInput `cursor_invalid`."""
    try:
        micros, place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        at = from_micros(micros)
        if type(place) is int and 0 <= place <= _MOST and EPOCH <= at <= FAR_FUTURE:
            return at, place
    except (binascii.Error, ValueError, TypeError, OverflowError):
        pass
    raise InvalidInput(
        "cursor_invalid",
        "this cursor was not made by this list",
        field="cursor",
        hint="Use next_cursor of the page before, or leave the cursor out.",
    )
