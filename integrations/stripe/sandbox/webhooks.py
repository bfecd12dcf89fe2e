"""Deliveries: signed POSTs to the enabled endpoints, retried with growing gaps, disturbed only when a plan says so.

Times here are wall-clock times: receivers compare the signature's age with their own clock, as with Stripe's test
clocks, which do not move webhook retries either.
"""

import json
import logging
import random
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from integrations.stripe.sandbox import accounts, faults, render, signing, store
from integrations.stripe.sandbox.accounts import Account
from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.errors import Doc
from integrations.stripe.sandbox.loopback import is_loopback
from integrations.stripe.sandbox.store import Store

logger = logging.getLogger("stripe_sandbox")
POLL_SECONDS = 0.25
AGENT = "Stripe/1.0 (+https://stripe.com/docs/webhooks)"


@dataclass(frozen=True)
class Parcel:
    """One attempt, ready to go."""

    url: str
    body: bytes
    secrets: tuple[str, ...]
    timeout: float
    copies: int
    kind: str


class Deliverer:
    """Looks for due deliveries; an endpoint gets one at a time, several endpoints are served at once."""

    def __init__(self, books: Store, base_url: str, defaults: dict[str, Any]) -> None:
        self.store = books
        self.base_url = base_url
        self.defaults = defaults
        self.client = httpx.Client(trust_env=False, follow_redirects=False)
        self.pool = ThreadPoolExecutor(8, thread_name_prefix="sandbox-webhook")
        self.signal = threading.Event()
        self.stopped = False
        self.busy: set[str] = set()
        self.busy_lock = threading.Lock()
        self.thread = threading.Thread(target=self._loop, name="sandbox-deliverer", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.stopped = True
        self.signal.set()
        self.thread.join(timeout=5)
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.client.close()

    def wake(self) -> None:
        self.signal.set()

    def _loop(self) -> None:
        while not self.stopped:
            self.signal.wait(timeout=POLL_SECONDS)
            self.signal.clear()
            try:
                self._dispatch()
            except sqlite3.Error:
                logger.exception("looking for deliveries failed")

    def _dispatch(self) -> None:
        for endpoint, deliveries in self._due().items():
            with self.busy_lock:
                if endpoint in self.busy:
                    continue
                self.busy.add(endpoint)
            self.pool.submit(self._serve, endpoint, deliveries)

    def _due(self) -> dict[str, list[int]]:
        """Due delivery ids by endpoint, in the order that the account asks for."""
        with self.store.transaction() as db:
            rows = db.execute(
                "SELECT id, account, endpoint FROM deliveries WHERE state = 'pending' AND due <= ? ORDER BY id",
                (time.time(),),
            ).fetchall()
            settings = {row["account"]: self._settings(db, row["account"]) for row in rows}
        out: dict[str, list[int]] = {}
        for row in rows:
            if not settings[row["account"]]["hold"]:
                out.setdefault(row["endpoint"], []).append(row["id"])
        of_endpoint = {row["endpoint"]: settings[row["account"]] for row in rows}
        return {endpoint: ordered(ids, of_endpoint[endpoint]) for endpoint, ids in out.items()}

    def _settings(self, db: sqlite3.Connection, account: str) -> dict[str, Any]:
        found = accounts.load(db, account, self.defaults)
        return found.settings if found else {**accounts.SETTINGS, **self.defaults}

    def _serve(self, endpoint: str, deliveries: list[int]) -> None:
        try:
            for delivery in deliveries:
                if self.stopped:
                    return
                parcel = self._pack(delivery)
                if parcel is not None:
                    self._settle(delivery, parcel.kind, self._send(parcel))
        except Exception:
            logger.exception("serving an endpoint failed")
        finally:
            with self.busy_lock:
                self.busy.discard(endpoint)
            self.signal.set()

    def _pack(self, delivery: int) -> Parcel | None:
        """What is to be sent now, after the plan had its say; None when there is nothing to send."""
        with self.store.transaction() as db:
            row = db.execute("SELECT * FROM deliveries WHERE id = ? AND state = 'pending'", (delivery,)).fetchone()
            account = row and accounts.load(db, row["account"], self.defaults)
            if not account or account.settings["hold"]:
                return None
            endpoint = store.get(db, account.id, row["endpoint"])
            event = store.get(db, account.id, row["event"])
            if endpoint is None or event is None or endpoint.get("deleted") or endpoint["status"] != "enabled":
                self._end(db, row, "dropped", None, "endpoint is gone or disabled")
                return None
            fault = faults.take(db, account.id, "webhook", type=row["type"], endpoint=row["endpoint"]) or {}
            if fault.get("action") == "drop":
                self._end(db, row, "dropped", None, "dropped by plan")
                return None
            if fault.get("action") == "delay":
                later = time.time() + float(fault.get("seconds", 1))
                db.execute("UPDATE deliveries SET due = ? WHERE id = ?", (later, delivery))
                return None
            body = self._body(db, account, endpoint, event)
        secrets = ("whsec_wrong_on_purpose",) if fault.get("action") == "bad_signature" else valid_secrets(endpoint)
        copies = 1 + int(fault.get("copies", 1)) if fault.get("action") == "duplicate" else 1
        timeout = float(account.settings["timeout_seconds"])
        return Parcel(endpoint["url"], body, secrets, timeout, copies, fault.get("action", "plain"))

    def _body(self, db: sqlite3.Connection, account: Account, endpoint: Doc, event: Doc) -> bytes:
        shown = render.show(Context(db, account, self.base_url), event)
        shown["api_version"] = endpoint["api_version"] or shown["api_version"]
        return json.dumps(shown, indent=2).encode()

    def _send(self, parcel: Parcel) -> list[int | str]:
        """The status of every copy, or why there is none."""
        if not is_loopback(parcel.url):
            return ["not a loopback address"]
        out: list[int | str] = []
        for _ in range(parcel.copies):
            headers = {
                "Content-Type": "application/json; charset=utf-8",
                "User-Agent": AGENT,
                "Stripe-Signature": signing.header(parcel.body, parcel.secrets, int(time.time())),
            }
            try:
                answer = self.client.post(parcel.url, content=parcel.body, headers=headers, timeout=parcel.timeout)
                out.append(answer.status_code)
            except httpx.HTTPError as error:
                out.append(type(error).__name__)
        return out

    def _settle(self, delivery: int, kind: str, results: list[int | str]) -> None:
        """Log each copy; delivered when the first one was answered with 2xx, else retried after a growing gap."""
        with self.store.transaction() as db:
            row = db.execute("SELECT * FROM deliveries WHERE id = ?", (delivery,)).fetchone()
            if row is None:
                return
            settings = self._settings(db, row["account"])
            for result in results:
                status = result if isinstance(result, int) else None
                self._log(db, row, row["attempts"] + 1, status, kind if status else str(result))
            attempts = row["attempts"] + 1
            if isinstance(results[0], int) and 200 <= results[0] < 300:
                state, due = "delivered", row["due"]
            elif attempts >= settings["max_attempts"]:
                state, due = "failed", row["due"]
            else:
                gap = settings["retry_base_seconds"] * settings["retry_factor"] ** (attempts - 1)
                state, due = "pending", time.time() + gap
            db.execute(
                "UPDATE deliveries SET state = ?, attempts = ?, due = ? WHERE id = ?", (state, attempts, due, delivery)
            )

    def _end(self, db: sqlite3.Connection, row: sqlite3.Row, state: str, status: int | None, why: str) -> None:
        db.execute("UPDATE deliveries SET state = ? WHERE id = ?", (state, row["id"]))
        self._log(db, row, row["attempts"], status, why)

    def _log(self, db: sqlite3.Connection, row: sqlite3.Row, attempt: int, status: int | None, outcome: str) -> None:
        db.execute(
            "INSERT INTO delivery_log (account, delivery, event, type, endpoint, at, attempt, status, outcome)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row["account"], row["id"], row["event"], row["type"], row["endpoint"], time.time(), attempt, status,
                outcome,
            ),
        )  # fmt: skip


def valid_secrets(endpoint: Doc) -> tuple[str, ...]:
    """The present secret, and the one before it while a roll overlaps."""
    old = (endpoint["_old_secret"],) if endpoint.get("_old_until", 0) > time.time() else ()
    return (endpoint["_secret"], *old)


def ordered(ids: list[int], settings: dict[str, Any]) -> list[int]:
    if settings["order"] == "reversed":
        return ids[::-1]
    if settings["order"] == "shuffled":
        return random.Random(settings["seed"]).sample(ids, len(ids))  # noqa: S311 - repeatable on purpose
    return ids
