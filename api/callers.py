"""Remembers for a moment whose key a secret is, so that a busy sender costs one ledger read every two seconds."""

import asyncio
import threading
from collections import OrderedDict
from datetime import datetime, timedelta
from hashlib import sha256

from ledger.db import Ledger
from ledger.store import keys
from ledger.store.keys import KeyRecord

__all__ = ["Callers"]

REMEMBERED_FOR = timedelta(seconds=2)
"""The longest that a revoked key still works."""

_MOST_CALLERS = 4096


class Callers:
    """Secret -> key. Only hashes are kept, and only of keys that were valid."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._found: OrderedDict[bytes, tuple[KeyRecord, datetime]] = OrderedDict()
        self._looking: dict[str, asyncio.Future[KeyRecord]] = {}
        self._lock = threading.Lock()

    def cached(self, secret: str, now: datetime) -> KeyRecord | None:
        """The key, if it was found valid within the last moments and has not expired since."""
        found = self._found.get(_hash(secret))
        if found is None:
            return None
        key, checked_at = found
        fresh = timedelta(0) <= now - checked_at < REMEMBERED_FOR
        return key if fresh and (key.expires_at is None or now < key.expires_at) else None

    async def looked_up(self, secret: str, now: datetime) -> KeyRecord:
        """As `look_up`, in a thread; requests with one key that come together share the look."""
        looking = self._looking.get(secret)
        if looking is None:
            looking = self._looking[secret] = asyncio.ensure_future(asyncio.to_thread(self.look_up, secret, now))
            looking.add_done_callback(lambda _: self._looking.pop(secret, None))
        # One of them may go away; the others still want the answer.
        return await asyncio.shield(looking)

    def look_up(self, secret: str, now: datetime) -> KeyRecord:
        """The key as the ledger has it now. NotAuthenticated when it is unknown, revoked or expired."""
        with self._ledger.read() as session:
            key = keys.authenticate(session, secret, now)
        with self._lock:
            self._found[_hash(secret)] = (key, now)
            self._found.move_to_end(_hash(secret))
            while len(self._found) > _MOST_CALLERS:
                self._found.popitem(last=False)
        return key


def _hash(secret: str) -> bytes:
    return sha256(secret.encode()).digest()
