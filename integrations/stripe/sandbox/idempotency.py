"""Idempotency-Key: the first answer of an execution is kept for 24 h of sandbox time and replayed, 402 and 500 too.

The answer is stored in the transaction of its effects, so a crash leaves both or neither.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from integrations.stripe.sandbox.context import dump
from integrations.stripe.sandbox.errors import Doc, StripeError, invalid

KEPT_SECONDS = 24 * 3600
LONGEST = 255


@dataclass(frozen=True)
class Keyed:
    """A keyed call. `call` is what must be the same when the key comes again."""

    account: str
    key: str
    call: str


def keyed(account: str, key: str, method: str, path: str, form: Doc) -> Keyed:
    if len(key) > LONGEST:
        raise invalid(f"Idempotency keys can have up to {LONGEST} characters, but you passed in {len(key)}.")
    return Keyed(account, key, dump([method, path, form]))


class Running:
    """Keys of requests that are executing at this moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: set[tuple[str, str]] = set()

    @contextmanager
    def claim(self, call: Keyed) -> Iterator[None]:
        """Raises 409 while another request with the key runs."""
        name = (call.account, call.key)
        with self._lock:
            if name in self._keys:
                message = (
                    "There is currently another in-progress request using this Idempotent Key (that probably means you "
                    "submitted twice, and the other request is still going through). Please try again later."
                )
                raise StripeError(409, message, code="idempotency_key_in_use", saved=False)
            self._keys.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._keys.discard(name)


def replay(db: sqlite3.Connection, call: Keyed, now: float) -> tuple[int, Doc] | None:
    """The stored status and body. Raises 400 `idempotency_error` when the key belongs to another call."""
    row = db.execute(
        "SELECT * FROM idempotency WHERE account = ? AND key = ? AND created > ?",
        (call.account, call.key, now - KEPT_SECONDS),
    ).fetchone()
    if row is None:
        return None
    if row["call"] != call.call:
        message = (
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try "
            f"using a key other than '{call.key}' if you meant to execute a different request."
        )
        raise StripeError(400, message, kind="idempotency_error", saved=False)
    return row["status"], json.loads(row["body"])


def remember(db: sqlite3.Connection, call: Keyed, status: int, body: Doc, now: float) -> None:
    db.execute(
        "INSERT OR REPLACE INTO idempotency (account, key, call, status, body, created) VALUES (?, ?, ?, ?, ?, ?)",
        (call.account, call.key, call.call, status, json.dumps(body), now),
    )
