"""Identifiers: a prefix that names the kind and a ULID, which sorts by the moment it was made."""

import secrets
import threading
from datetime import UTC, datetime, timedelta
from typing import Final

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# Two characters at a time, which is what most of an id's making takes.
_PAIRS: Final = tuple(first + second for first in _CROCKFORD for second in _CROCKFORD)
_SHIFTS: Final = tuple(range(120, -1, -10))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# How far apart, at most, two ids of one millisecond lie: a next one cannot be guessed from the one before.
_STEP_BITS: Final = 64


class _Ulids:
    """Numbers of 48 bits of milliseconds and 80 random bits, the later one of a millisecond always the larger."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self, milliseconds: int) -> int:
        with self._lock:
            if self._last >> 80 == milliseconds:
                following = self._last + 1 + secrets.randbits(_STEP_BITS)
                if following >> 80 == milliseconds:
                    self._last = following
                    return following
            # The top bit of the random part is left free, so that a millisecond has room for the ids to come.
            self._last = (milliseconds << 80) | secrets.randbits(79)
            return self._last


_ulids: Final = _Ulids()


def new_id(prefix: str, at: datetime) -> str:
    """`prefix` + "_" + ULID of the moment `at`; of two made by one process in a millisecond the later one sorts later.

    >>> new_id("cus", datetime(2024, 1, 20, tzinfo=UTC))[:14]
    'cus_01HMJ0G200'
    """
    number = _ulids.next((at - _EPOCH) // timedelta(milliseconds=1))
    return prefix + "_" + "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])
