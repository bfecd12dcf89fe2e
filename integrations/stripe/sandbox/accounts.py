"""An API key is an account: who is calling, in which mode, with which clock and settings. Keys are never stored."""

import base64
import hashlib
import json
import re
import sqlite3
import time
from dataclasses import dataclass
from typing import Any

from integrations.stripe.sandbox import clock
from integrations.stripe.sandbox.errors import StripeError

KEY = re.compile(r"(sk|rk)_(test|live)_[A-Za-z0-9_]{16,}")
SETTINGS: dict[str, Any] = {
    "search_lag_seconds": 60.0,
    "hold": False,
    "order": "in_order",
    "seed": 0,
    "retry_base_seconds": 1.0,
    "retry_factor": 3.0,
    "max_attempts": 6,
    "timeout_seconds": 10.0,
    "calls_per_second": 0.0,
    "endpoint_calls_per_second": 0.0,
    "lock_objects": False,
}


@dataclass(frozen=True)
class Account:
    id: str
    livemode: bool
    created: int
    now: float
    settings: dict[str, Any]


def account_id(key: str) -> str:
    """Derived from the key alone, so that the same key finds its account again after a restart."""
    return "acct_1" + hashlib.sha256(key.encode()).hexdigest()[:15].upper()


def authenticate(authorization: str | None) -> tuple[str, bool]:
    """(account id, livemode) of an Authorization header, as `key_of`, for a key that is an account."""
    key = key_of(authorization)
    return account_id(key), is_live(key)


def is_live(key: str) -> bool:
    return "_live_" in key[:8]


def key_of(authorization: str | None) -> str:
    """The key of an Authorization header: Bearer, or Basic with the key as its user (`curl -u`).

    Raises 401 with Stripe's words. The key appears in no message.
    """
    scheme, _, value = (authorization or "").partition(" ")
    key = _basic_user(value) if scheme.lower() == "basic" else value.strip()
    if scheme.lower() not in {"bearer", "basic"} or not key:
        message = (
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
        )
        raise StripeError(401, message, saved=False)
    if key.startswith("pk_"):
        message = "This API call cannot be made with a publishable API key. Please use a secret API key."
        raise StripeError(401, message, code="secret_key_required", saved=False)
    if not KEY.fullmatch(key) or len(key) < 24:
        raise StripeError(401, "Invalid API Key provided.", saved=False)
    return key


def _basic_user(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode("ascii").partition(":")[0]
    except ValueError:
        return ""


def opened(db: sqlite3.Connection, ident: str, livemode: bool, defaults: dict[str, Any]) -> Account:
    """The account, made at its first use."""
    db.execute(
        "INSERT INTO accounts (id, livemode, created) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (ident, int(livemode), time.time()),
    )
    account = load(db, ident, defaults)
    if account is None:
        raise LookupError(ident)
    return account


def load(db: sqlite3.Connection, ident: str, defaults: dict[str, Any]) -> Account | None:
    row = db.execute("SELECT * FROM accounts WHERE id = ?", (ident,)).fetchone()
    if row is None:
        return None
    settings = {**SETTINGS, **defaults, **json.loads(row["settings"])}
    return Account(row["id"], bool(row["livemode"]), int(row["created"]), clock.read(row), settings)


def change_settings(db: sqlite3.Connection, ident: str, changes: dict[str, Any]) -> None:
    row = db.execute("SELECT settings FROM accounts WHERE id = ?", (ident,)).fetchone()
    stored = {**json.loads(row["settings"]), **changes}
    db.execute("UPDATE accounts SET settings = ? WHERE id = ?", (json.dumps(stored), ident))
