"""Restricted keys: keys of an account that may do what was chosen for them, and are refused the rest as Stripe does.

A key is made by a control call and shown once; what is kept is its hash. A restricted key that nobody made is an
account of its own with every right, as any other key.
"""

import hashlib
import json
import secrets
import sqlite3
from dataclasses import dataclass

from integrations.stripe.sandbox.errors import Doc, StripeError, invalid

# The path's first part -> Stripe's name of the right. https://docs.stripe.com/keys/restricted-api-keys
RIGHTS = {
    "account": "accounts_kyc_basic",
    "balance": "balance",
    "balance_transactions": "balance_transaction_source",
    "charges": "charge",
    "checkout": "checkout_session",
    "coupons": "coupon",
    "credit_notes": "credit_note",
    "customers": "customer",
    "disputes": "dispute",
    "events": "event",
    "invoice_payments": "invoice",
    "invoiceitems": "invoice",
    "invoices": "invoice",
    "payment_intents": "payment_intent",
    "payment_methods": "payment_method",
    "prices": "plan",
    "products": "product",
    "refunds": "charge",
    "setup_intents": "setup_intent",
    "subscriptions": "subscription",
    "tax_rates": "tax_rate",
    "test_helpers": "billing_clock",
    "webhook_endpoints": "webhook",
}
LEVELS = ("none", "read", "write")


@dataclass(frozen=True)
class Restricted:
    """A key's account, and its level for each right that it has."""

    account: str
    rights: dict[str, str]


def make(db: sqlite3.Connection, account: str, livemode: bool, rights: Doc) -> str:
    """A new key of the account. Raises 400 for a right or a level that does not exist."""
    for name, level in rights.items():
        if name not in RIGHTS.values() or level not in LEVELS:
            raise invalid(f"Invalid right: {name[:80]}; a level is none, read or write.", "rights")
    key = f"rk_{'live' if livemode else 'test'}_{secrets.token_hex(24)}"
    db.execute(
        "INSERT INTO restricted_keys (hash, account, rights) VALUES (?, ?, ?)",
        (_hash(key), account, json.dumps(rights)),
    )
    return key


def find(db: sqlite3.Connection, key: str) -> Restricted | None:
    row = db.execute("SELECT * FROM restricted_keys WHERE hash = ?", (_hash(key),)).fetchone()
    return None if row is None else Restricted(row["account"], json.loads(row["rights"]))


def check(restricted: Restricted, method: str, path: str) -> None:
    """Raises 403 unless the key may read, or for anything but GET write, what the path is about."""
    right = RIGHTS.get(path.removeprefix("/v1/").partition("/")[0])
    needed = "read" if method == "GET" else "write"
    if right is not None and LEVELS.index(restricted.rights.get(right, "none")) < LEVELS.index(needed):
        message = (
            f"The provided key 'rk_***' does not have the required permissions for this endpoint on account "
            f"'{restricted.account}'. Having the 'rak_{right}_{needed}' permission would allow this request to "
            "continue."
        )
        raise StripeError(403, message, saved=False)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
