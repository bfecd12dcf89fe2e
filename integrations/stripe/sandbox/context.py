"""What a resource works with during one transaction: the account, its time, its objects, and the events to come."""

import json
import secrets
import sqlite3
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from integrations.stripe.sandbox import store
from integrations.stripe.sandbox.accounts import Account
from integrations.stripe.sandbox.errors import Doc, missing

ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    return prefix + "_" + "".join(secrets.choice(ALPHABET) for _ in range(length))


@dataclass(frozen=True)
class Cause:
    """The API call behind an event; both None when the sandbox acts by itself."""

    request_id: str | None = None
    idempotency_key: str | None = None
    method: str = ""
    path: str = ""


@dataclass
class Context:
    db: sqlite3.Connection
    account: Account
    base_url: str
    cause: Cause = Cause()
    at: float | None = None
    """Pins the time of a background job to when it was due, so that one big step of the clock runs a whole schedule;
    and of what a test clock holds to where that stands."""
    clock: str | None = None

    @property
    def time(self) -> float:
        return self.account.now if self.at is None else self.at

    @property
    def account_time(self) -> float:
        """What events and search go by: no test clock moves them."""
        return self.account.now if self.clock is not None else self.time

    @property
    def now(self) -> int:
        return int(self.time)

    @property
    def mode(self) -> str:
        return "live" if self.account.livemode else "test"

    def add(self, doc: Doc) -> Doc:
        store.insert(self.db, self.account.id, doc, self.account_time)
        return doc

    def save(self, doc: Doc) -> None:
        store.save(self.db, self.account.id, doc, self.account_time)

    def remove(self, doc: Doc) -> Doc:
        stub = {"id": doc["id"], "object": doc["object"], "deleted": True}
        store.remove(self.db, self.account.id, stub, self.account_time)
        return stub

    def get(self, object_id: str | None) -> Doc | None:
        return store.get(self.db, self.account.id, object_id) if object_id else None

    def find(self, kind: str, *filters: store.Filter, **options: Any) -> list[Doc]:
        return store.find(self.db, self.account.id, kind, filters, **options)

    def count(self, kind: str, *filters: store.Filter) -> int:
        return store.count(self.db, self.account.id, kind, filters)

    def load(self, kind: str, object_id: str, param: str | None = None, *, deleted: bool = False) -> Doc:
        """The object named in the path (404 when absent), or in the parameter `param` (400)."""
        doc = self.get(object_id)
        if doc is None or doc["object"] != kind or (doc.get("deleted") and not deleted):
            raise missing(kind, object_id) if param is None else missing(kind, object_id, param, 400)
        return doc

    def schedule(self, kind: str, target: str, due: float, *, clock: str | None = None) -> None:
        """Work for the background worker once the account's clock, or the test clock of this call or given, reaches
        `due`."""
        work = (self.account.id, due, kind, target)
        if held_by := clock or self.clock:
            statement = "INSERT INTO clock_jobs (account, due, kind, target, clock) VALUES (?, ?, ?, ?, ?)"
            self.db.execute(statement, (*work, held_by))
        else:
            self.db.execute("INSERT INTO jobs (account, due, kind, target) VALUES (?, ?, ?, ?)", work)


def merge_metadata(doc: Doc, given: Any, field: str = "metadata") -> None:
    """Stripe's rule: given keys are set, keys given as "" are removed, "" for the whole clears it."""
    if given is None:
        return
    kept = {} if given == "" else {**(doc.get(field) or {}), **given}
    doc[field] = {name: value for name, value in kept.items() if value != ""}


def given_or_none(params: Doc, name: str) -> Any:
    """ "" means "unset" in Stripe's encoding."""
    value = params.get(name)
    return None if value == "" else value


def dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def listing(items: Sequence[Doc], url: str, has_more: bool = False) -> Doc:
    return {"object": "list", "data": list(items), "has_more": has_more, "url": url}
