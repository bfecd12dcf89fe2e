"""Faults by plan: rules per account, matched against requests, charges and deliveries; every firing is logged.

A rule is a dict:

    on        "request" (default), "charge" or "webhook"
    action    request: rate_limit, lock_timeout, conflict, forbidden, error, drop, slow
              charge: decline              webhook: drop, delay, duplicate, bad_signature
    method, path, key, customer, type, endpoint     what to match; `*` in path, key and type stands for anything
    nth       list of 1-based matches at which to fire; else the first `times` matches (default 1) after `skip`
    probability, seed     fire at random instead, the same way at every run
    status    of an error: 500 (default), 502, 503, …   when: "before" (default) or "after" the commit;
              a drop also "during" the answer, of which half arrives
    seconds   of slow and delay        copies: of duplicate        should_retry: the Stripe-Should-Retry header
    decline_code          of decline
"""

import fnmatch
import json
import random
import sqlite3
import time
from typing import Any

from integrations.stripe.sandbox.errors import Doc, invalid

ACTIONS = {
    "request": ("rate_limit", "lock_timeout", "conflict", "forbidden", "error", "drop", "slow"),
    "charge": ("decline",),
    "webhook": ("drop", "delay", "duplicate", "bad_signature"),
}
PATTERNS = ("path", "key", "type")
EXACT = ("method", "customer", "endpoint")
TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys((*PATTERNS, *EXACT, "on", "action", "when", "decline_code"), (str,)),
    **dict.fromkeys(("times", "skip", "seed", "status", "copies"), (int,)),
    **dict.fromkeys(("probability", "seconds"), (int, float)),
    "nth": (list,),
    "should_retry": (bool,),
}


def plan(db: sqlite3.Connection, account: str, rule: Doc) -> int:
    """Stores a rule and returns its id. Raises 400 for one that could never do what it says."""
    for name, value in rule.items():
        wanted = TYPES.get(name, ())
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise invalid(f"Invalid fault: {name}.", name)
    if rule.get("action") not in ACTIONS.get(rule.get("on", "request"), ()):
        raise invalid("Invalid fault: this action does not exist there.", "action")
    moments = ("before", "after", "during") if rule["action"] == "drop" else ("before", "after")
    if rule.get("when", "before") not in moments:
        raise invalid("Invalid fault: when is before or after, for a drop also during.", "when")
    if not 400 <= rule.get("status", 500) <= 599 or not 0 <= rule.get("seconds", 0) <= 120:
        raise invalid("Invalid fault: status is 400 to 599, seconds at most 120.", "status")
    cursor = db.execute("INSERT INTO faults (account, rule) VALUES (?, ?)", (account, json.dumps(rule)))
    return int(cursor.lastrowid or 0)


def take(db: sqlite3.Connection, account: str, on: str, **facts: str | None) -> Doc | None:
    """The first rule that fires for these facts, counted and logged; None when none does."""
    rows = db.execute("SELECT * FROM faults WHERE account = ? ORDER BY id", (account,)).fetchall()
    taken: Doc | None = None
    for row in rows:
        rule = json.loads(row["rule"])
        if rule.get("on", "request") != on or not _fits(rule, facts):
            continue
        seen = row["seen"] + 1
        fires = taken is None and _due(rule, seen, row["fired"])
        db.execute("UPDATE faults SET seen = ?, fired = fired + ? WHERE id = ?", (seen, int(fires), row["id"]))
        if fires:
            taken = rule
            detail = json.dumps({name: value for name, value in facts.items() if value is not None})
            db.execute(
                "INSERT INTO fault_log (account, fault, at, action, detail) VALUES (?, ?, ?, ?, ?)",
                (account, row["id"], time.time(), rule["action"], detail),
            )
    return taken


def _fits(rule: Doc, facts: dict[str, Any]) -> bool:
    return all(name not in rule or facts.get(name) == rule[name] for name in EXACT) and all(
        name not in rule or fnmatch.fnmatchcase(str(facts.get(name) or ""), rule[name]) for name in PATTERNS
    )


def _due(rule: Doc, seen: int, fired: int) -> bool:
    if "nth" in rule:
        return seen in rule["nth"]
    if "probability" in rule:
        draw = random.Random(f"{rule.get('seed', 0)}:{seen}").random()  # noqa: S311 - repeatable on purpose
        return draw < float(rule["probability"])
    return bool(seen > rule.get("skip", 0) and fired < rule.get("times", 1))


def planned(db: sqlite3.Connection, account: str) -> list[Doc]:
    rows = db.execute("SELECT * FROM faults WHERE account = ? ORDER BY id", (account,))
    return [{"id": r["id"], "rule": json.loads(r["rule"]), "seen": r["seen"], "fired": r["fired"]} for r in rows]


def log(db: sqlite3.Connection, account: str) -> list[Doc]:
    rows = db.execute("SELECT * FROM fault_log WHERE account = ? ORDER BY id", (account,))
    return [
        {"fault": r["fault"], "at": r["at"], "action": r["action"], "detail": json.loads(r["detail"])} for r in rows
    ]


def clear(db: sqlite3.Connection, account: str) -> int:
    """Drop every rule; how many there were. The log stays."""
    return db.execute("DELETE FROM faults WHERE account = ?", (account,)).rowcount
