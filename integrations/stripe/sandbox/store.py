"""State on disk: one SQLite file in WAL mode, one writer at a time, everything of one request in one transaction.

A commit survives kill -9 of the process; the file is not fsynced at every commit (synchronous=NORMAL), so a power cut
may lose the last moments, never consistency.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from integrations.stripe.sandbox.errors import Doc

# Where a filter of `Store.find` looks: the caller's names never become SQL.
FIELDS = {
    "customer": "json_extract(doc, '$.customer')",
    "invoice": "json_extract(doc, '$.invoice')",
    "status": "json_extract(doc, '$.status')",
    "collection_method": "json_extract(doc, '$.collection_method')",
    "email": "json_extract(doc, '$.email')",
    "charge": "json_extract(doc, '$.charge')",
    "payment_intent": "json_extract(doc, '$.payment_intent')",
    "payment.payment_intent": "json_extract(doc, '$.payment.payment_intent')",
    "payment.type": "json_extract(doc, '$.payment.type')",
    "payment_method": "json_extract(doc, '$.payment_method')",
    "product": "json_extract(doc, '$.product')",
    "active": "json_extract(doc, '$.active')",
    "currency": "json_extract(doc, '$.currency')",
    "lookup_key": "json_extract(doc, '$.lookup_key')",
    "number": "json_extract(doc, '$.number')",
    "type": "json_extract(doc, '$.type')",
    "test_clock": "json_extract(doc, '$.test_clock')",
    "url": "json_extract(doc, '$.url')",
    "due_date": "json_extract(doc, '$.due_date')",
    "id": "id",
    "created": "created",
}
OPERATORS = {"eq": " = ?", "gt": " > ?", "gte": " >= ?", "lt": " < ?", "lte": " <= ?"}
MEMBER = " IN (SELECT value FROM json_each(?))"

Filter = tuple[str, str, Any]
"""(field, operator, value): operator one of eq, gt, gte, lt, lte, in, null."""


class Store:
    """The database. Every use of `db` happens inside `transaction()`; the lock makes requests take turns."""

    def __init__(self, path: Path | None) -> None:
        """`path` is the database file; None keeps everything in memory."""
        self.lock = threading.RLock()
        self.db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self.db.row_factory = sqlite3.Row
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute("PRAGMA busy_timeout = 5000")
        schema = resources.files("integrations.stripe.sandbox").joinpath("schema.sql").read_text(encoding="utf-8")
        self.db.executescript(schema)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction; an exception rolls it back."""
        with self.lock:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
            except BaseException:
                self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")

    def close(self) -> None:
        with self.lock:
            self.db.close()


def insert(db: sqlite3.Connection, account: str, doc: Doc, now: float) -> None:
    db.execute(
        "INSERT INTO objects (account, kind, id, created, changed, doc) VALUES (?, ?, ?, ?, ?, ?)",
        (account, doc["object"], doc["id"], doc.get("created", int(now)), now, json.dumps(doc)),
    )


def save(db: sqlite3.Connection, account: str, doc: Doc, now: float) -> None:
    db.execute(
        "UPDATE objects SET doc = ?, changed = ? WHERE account = ? AND id = ?",
        (json.dumps(doc), now, account, doc["id"]),
    )


def remove(db: sqlite3.Connection, account: str, stub: Doc, now: float) -> None:
    """The object becomes its deleted twin: still found by id, no longer listed."""
    db.execute(
        "UPDATE objects SET deleted = 1, doc = ?, changed = ? WHERE account = ? AND id = ?",
        (json.dumps(stub), now, account, stub["id"]),
    )


def forget(db: sqlite3.Connection, account: str, object_id: str) -> None:
    """Nothing is left of the object."""
    db.execute("DELETE FROM objects WHERE account = ? AND id = ?", (account, object_id))


def get(db: sqlite3.Connection, account: str, object_id: str) -> Doc | None:
    row = db.execute("SELECT doc FROM objects WHERE account = ? AND id = ?", (account, object_id)).fetchone()
    return None if row is None else dict(json.loads(row["doc"]))


def owner(db: sqlite3.Connection, object_id: str) -> str | None:
    """The account of an object, for pages, whose address is the only thing that a visitor has."""
    row = db.execute("SELECT account FROM objects WHERE id = ?", (object_id,)).fetchone()
    return None if row is None else str(row["account"])


def _where(account: str, kind: str, filters: Sequence[Filter]) -> tuple[str, list[Any]]:
    """The condition and its values: only the fixed fragments above are put together, every value is bound."""
    clauses = ["account = ?", "kind = ?", "deleted = 0"]
    values: list[Any] = [account, kind]
    for field, operator, value in filters:
        column = FIELDS[field]
        if operator == "null":
            clauses.append(column + " IS NULL")
        elif operator == "in":
            clauses.append(column + MEMBER)
            values.append(json.dumps(value))
        else:
            clauses.append(column + OPERATORS[operator])
            values.append(value)
    return " AND ".join(clauses), values


def find(
    db: sqlite3.Connection,
    account: str,
    kind: str,
    filters: Sequence[Filter] = (),
    *,
    limit: int | None = None,
    before: int | None = None,
    after: int | None = None,
    oldest_first: bool = False,
    changed_until: float | None = None,
) -> list[Doc]:
    """Live objects of a kind, newest first unless asked otherwise; `before` and `after` bound the sequence number."""
    where, values = _where(account, kind, filters)
    clauses = [where]
    for clause, bound in (("seq < ?", before), ("seq > ?", after), ("changed <= ?", changed_until)):
        if bound is not None:
            clauses.append(clause)
            values.append(bound)
    order = " ORDER BY seq ASC LIMIT ?" if oldest_first else " ORDER BY seq DESC LIMIT ?"
    query = "SELECT doc FROM objects WHERE " + " AND ".join(clauses) + order  # noqa: S608
    return [dict(json.loads(row["doc"])) for row in db.execute(query, [*values, -1 if limit is None else limit])]


def sequence(db: sqlite3.Connection, account: str, kind: str, object_id: str) -> int | None:
    row = db.execute(
        "SELECT seq FROM objects WHERE account = ? AND kind = ? AND id = ?", (account, kind, object_id)
    ).fetchone()
    return None if row is None else int(row["seq"])


def count(db: sqlite3.Connection, account: str, kind: str, filters: Sequence[Filter] = ()) -> int:
    where, values = _where(account, kind, filters)
    row = db.execute("SELECT count(*) AS n FROM objects WHERE " + where, values).fetchone()  # noqa: S608
    return int(row["n"])
