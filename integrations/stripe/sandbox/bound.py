"""Whose time a call runs in: that of the test clock which holds the customer it is about, else the account's."""

import sqlite3
from collections.abc import Iterable, Iterator

from integrations.stripe.sandbox import store
from integrations.stripe.sandbox.accounts import Account
from integrations.stripe.sandbox.context import Cause, Context
from integrations.stripe.sandbox.errors import Doc, refused

CLOCK = "test_helpers.test_clock"
# Parameters that name the object which says whose customer a call is about.
NAMING = ("customer", "invoice", "subscription", "payment_intent", "charge", "test_clock")


def named(form: Doc, ids: Iterable[str]) -> list[str]:
    """The ids of objects in a call's path, then in its parameters."""
    given = (form.get(name) for name in NAMING)
    return [*ids, *(value for value in given if isinstance(value, str))]


def context(
    db: sqlite3.Connection,
    account: Account,
    base_url: str,
    cause: Cause,
    names: Iterable[str],
    *,
    changes: bool = True,
) -> Context:
    """The context of a call about these objects. Raises 400 for one that `changes` what a clock holds that advances."""
    for clock in _clocks(db, account, names):
        if changes and clock["status"] == "advancing":
            raise refused("Test clock advancement underway - cannot perform modifications.")
        return Context(db, account, base_url, cause, at=float(clock["frozen_time"]), clock=clock["id"])
    return Context(db, account, base_url, cause)


def _clocks(db: sqlite3.Connection, account: Account, names: Iterable[str]) -> Iterator[Doc]:
    for name in names:
        found = store.get(db, account.id, name) or {}
        kind, customer = found.get("object"), found.get("customer")
        held_by = found if kind in {"customer", CLOCK} else store.get(db, account.id, customer or "") or {}
        clock = held_by if kind == CLOCK else store.get(db, account.id, held_by.get("test_clock") or "")
        if clock and not clock.get("deleted"):
            yield clock
