"""One API call from bytes to answer: who, which version, faults, idempotency, parameters, execution, recording."""

import json
import logging
import sqlite3
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from integrations.stripe.sandbox import accounts, bound, faults, idempotency, mishaps, permissions, render
from integrations.stripe.sandbox.accounts import Account
from integrations.stripe.sandbox.context import Cause, Context, new_id
from integrations.stripe.sandbox.errors import Doc, StripeError, invalid
from integrations.stripe.sandbox.forms import decode
from integrations.stripe.sandbox.limits import Limits
from integrations.stripe.sandbox.mishaps import Outcome
from integrations.stripe.sandbox.parameters import document, read
from integrations.stripe.sandbox.recorder import Recorder
from integrations.stripe.sandbox.routing import Operation
from integrations.stripe.sandbox.store import Store
from integrations.stripe.sandbox.worker import Worker

logger = logging.getLogger("stripe_sandbox")


@dataclass(frozen=True)
class Incoming:
    """An HTTP request, read completely. `headers` have lower-case names."""

    method: str
    path: str
    query: str
    body: bytes
    headers: Mapping[str, str]
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str | None:
        return self.headers.get("idempotency-key") if self.method == "POST" else None


@dataclass(frozen=True)
class Call:
    """A request that was let in."""

    operation: Operation
    account: Account
    form: Doc
    ids: dict[str, str]
    cause: Cause
    keyed: idempotency.Keyed | None
    fault: Doc | None


class Service:
    def __init__(
        self, store: Store, worker: Worker, recorder: Recorder, base_url: str, defaults: dict[str, Any]
    ) -> None:
        """`defaults` are settings that every account starts with; `base_url` is where the pages are."""
        self.store = store
        self.worker = worker
        self.recorder = recorder
        self.base_url = base_url
        self.defaults = defaults
        self.running = idempotency.Running()
        self.limits = Limits()

    def answer(self, target: Operation | StripeError, request: Incoming) -> Outcome:
        """Never raises: whatever goes wrong is an answer in Stripe's shape. `target` is what the path leads to, or why
        it leads nowhere, which only a caller with a key is told."""
        request_id = new_id("req", 14)
        account_id: str | None = None
        try:
            key = accounts.key_of(request.headers.get("authorization"))
            with self.store.transaction() as db:
                restricted = permissions.find(db, key) if key.startswith("rk_") else None
                account_id = restricted.account if restricted else accounts.account_id(key)
                account = accounts.opened(db, account_id, accounts.is_live(key), self.defaults)
            self.limits.admit(account.id, _endpoint(target, request), account.settings)
            if restricted is not None:
                permissions.check(restricted, request.method, request.path)
            outcome = self._admitted(target, request, account, request_id)
        except StripeError as error:
            outcome = Outcome(error.status, error.body(), error.headers)
        except Exception:
            logger.exception("request %s failed", request_id)
            outcome = Outcome(500, mishaps.api_error())
        if isinstance(target, Operation) and not outcome.injected:
            self._record(request, account_id, outcome)
        keyed = {"Idempotency-Key": request.key} if request.key else {}
        headers = {"Request-Id": request_id, "Stripe-Version": document()["version"], **keyed, **outcome.headers}
        return Outcome(outcome.status, outcome.body, headers, outcome.dropped, outcome.torn)

    def _admitted(
        self, target: Operation | StripeError, request: Incoming, account: Account, request_id: str
    ) -> Outcome:
        version = request.headers.get("stripe-version", document()["version"])
        if version != document()["version"]:
            raise invalid(f"Invalid Stripe API version: {version[:40]}; the sandbox serves {document()['version']}.")
        if isinstance(target, StripeError):
            raise target
        if "stripe-account" in request.headers or "stripe-context" in request.headers:
            raise invalid("The sandbox does not implement Connect: calls for another account.")
        form = decode(request.body.decode("utf-8", "replace") if request.method == "POST" else request.query)
        key = request.key
        keyed = idempotency.keyed(account.id, key, request.method, request.path, form) if key else None
        fault = self._fault(request, account, form)
        cause = Cause(request_id, key, request.method, request.path)
        call = Call(target, account, form, request.ids, cause, keyed, fault)
        with ExitStack() as held:
            if keyed is not None:
                held.enter_context(self.running.claim(keyed))
            if account.settings["lock_objects"] and request.method != "GET":
                for ident in request.ids.values():
                    held.enter_context(self.limits.changing(account.id, ident))
            return self._performed(call)

    def _fault(self, request: Incoming, account: Account, form: Doc) -> Doc | None:
        with self.store.transaction() as db:
            named = form.get("customer")
            customer = named if isinstance(named, str) else _customer_of(db, account, request.ids)
            facts = {"method": request.method, "path": request.path, "key": request.key, "customer": customer}
            return faults.take(db, account.id, "request", **facts)

    def _performed(self, call: Call) -> Outcome:
        mishaps.admit(call.fault)
        with self.store.transaction() as db:
            stored = idempotency.replay(db, call.keyed, call.account.now) if call.keyed else None
            broken = mishaps.before_commit(call.fault)
            if broken and not stored and call.keyed and broken.status == 500 and not broken.dropped:
                idempotency.remember(db, call.keyed, broken.status, broken.body, call.account.now)
        if broken:
            return broken
        if stored:
            return mishaps.after_commit(call.fault, Outcome(*stored, {"Idempotent-Replayed": "true"}))
        return mishaps.after_commit(call.fault, self._refused_or_executed(call))

    def _refused_or_executed(self, call: Call) -> Outcome:
        """A refusal is an answer that can be lost on its way as well."""
        try:
            return self._executed(call)
        except StripeError as error:
            return Outcome(error.status, error.body(), error.headers)

    def _executed(self, call: Call) -> Outcome:
        """Execute and remember in one transaction: a crash leaves both the effects and the answer, or neither."""
        params = read(call.operation.name, call.form, call.operation.served)
        try:
            with self.store.transaction() as db:
                account = accounts.load(db, call.account.id, self.defaults) or call.account
                names = bound.named(call.form, call.ids.values()) if call.operation.kind != bound.CLOCK else ()
                changes = call.cause.method != "GET"
                ctx = bound.context(db, account, self.base_url, call.cause, names, changes=changes)
                outcome = self._handled(call, ctx, params)
                self._remember(db, call, mishaps.remembered(call.fault, outcome))
        except StripeError as error:
            if error.saved:
                with self.store.transaction() as db:
                    self._remember(db, call, Outcome(error.status, error.body()))
            raise
        self.worker.wake()
        return outcome

    def _remember(self, db: sqlite3.Connection, call: Call, outcome: Outcome) -> None:
        if call.keyed is not None:
            idempotency.remember(db, call.keyed, outcome.status, outcome.body, call.account.now)

    def _handled(self, call: Call, ctx: Context, params: Doc) -> Outcome:
        try:
            found = call.operation.handler(ctx, params, *call.ids.values())
        except StripeError as error:
            if not error.kept:
                raise
            return Outcome(error.status, error.body(), error.headers)
        shown = found if found["object"] in ("list", "search_result") else render.show(ctx, found)
        return Outcome(200, render.expanded(ctx, shown, params.get("expand", []), call.operation.kind))

    def _record(self, request: Incoming, account_id: str | None, outcome: Outcome) -> None:
        exchange: Doc = {
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "form": request.body.decode("utf-8", "replace"),
            "status": outcome.status,
            "response": outcome.body,
            "idempotency_key": request.headers.get("idempotency-key"),
            "account": account_id,
        }
        if "sandbox-expect-refusal" in request.headers:
            exchange["expect_refusal"] = True
        self.recorder.write(exchange)


def _endpoint(target: Operation | StripeError, request: Incoming) -> str:
    return target.name if isinstance(target, Operation) else f"{request.method} {request.path}"


def _customer_of(db: sqlite3.Connection, account: Account, ids: dict[str, str]) -> str | None:
    """The customer that a path is about, through the object it names."""
    for ident in ids.values():
        row = db.execute("SELECT doc FROM objects WHERE account = ? AND id = ?", (account.id, ident)).fetchone()
        doc = json.loads(row["doc"]) if row else {}
        named = doc.get("id") if doc.get("object") == "customer" else doc.get("customer")
        if isinstance(named, str):
            return named
    return None
