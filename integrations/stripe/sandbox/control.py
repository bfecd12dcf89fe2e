"""The control paths of tests and demos, under /_sandbox/: clock, faults, webhooks, ledger, waiting and resetting.

They act on the account of the Authorization header, like every other call, and answer without secrets.
"""

import json
import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from integrations.stripe.sandbox import accounts, clock, events, faults, overview, permissions
from integrations.stripe.sandbox.accounts import SETTINGS, Account
from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.errors import Doc, StripeError, invalid
from integrations.stripe.sandbox.parameters import document
from integrations.stripe.sandbox.service import Service
from integrations.stripe.sandbox.worker import DUE_BY_CLOCK

RESET = (
    "DELETE FROM objects WHERE account = ?",
    "DELETE FROM idempotency WHERE account = ?",
    "DELETE FROM jobs WHERE account = ?",
    "DELETE FROM clock_jobs WHERE account = ?",
    "DELETE FROM deliveries WHERE account = ?",
    "DELETE FROM delivery_log WHERE account = ?",
    "DELETE FROM faults WHERE account = ?",
    "DELETE FROM fault_log WHERE account = ?",
    "DELETE FROM restricted_keys WHERE account = ?",
    "UPDATE accounts SET frozen_at = NULL, clock_offset = 0, settings = '{}' WHERE id = ?",
)
POLL_SECONDS = 0.02
LONGEST_WAIT = 120.0
Act = Callable[[Context, Doc], Any]


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/_sandbox")

    @routes.get("/health")
    async def health() -> Response:
        return _json({"ready": True, "version": document()["version"]})

    def serve(method: str, path: str, act: Act, after: Callable[[str], None] | None = None) -> None:
        async def endpoint(request: Request) -> Response:
            body = await request.body()
            return await run_in_threadpool(_answer, service, request, body, act, after)

        routes.add_api_route(path, endpoint, methods=[method], name=f"{method} {path}")

    serve("GET", "/clock", lambda ctx, _: _clock(ctx))
    serve("POST", "/clock", _move_clock, lambda account: _catch_up(service, account))
    serve("GET", "/settings", lambda ctx, _: ctx.account.settings)
    serve("POST", "/settings", _settings)
    serve("GET", "/faults", lambda ctx, _: {"faults": faults.planned(ctx.db, ctx.account.id)})
    serve("POST", "/faults", lambda ctx, rule: {"id": faults.plan(ctx.db, ctx.account.id, rule)})
    serve("DELETE", "/faults", lambda ctx, _: {"cleared": faults.clear(ctx.db, ctx.account.id)})
    serve("GET", "/faults/log", lambda ctx, _: {"log": faults.log(ctx.db, ctx.account.id)})
    serve("GET", "/deliveries", lambda ctx, _: _deliveries(ctx))
    serve(
        "POST",
        "/events/{ident}/resend",
        lambda ctx, body: {"queued": events.queue(ctx, ctx.load("event", body["ident"]))},
    )
    serve("POST", "/webhook_endpoints/{ident}/roll", _roll)
    serve("GET", "/ledger", lambda ctx, body: {"ledger": overview.ledger(ctx.db, ctx.account.id, body.get("customer"))})
    serve("POST", "/restricted_keys", _restricted_key)
    serve("POST", "/reset", _reset)

    @routes.post("/idle")
    async def idle(request: Request) -> Response:
        return await run_in_threadpool(_wait_idle, service, request, await request.body())

    return routes


def _answer(service: Service, request: Request, body: bytes, act: Act, after: Callable[[str], None] | None) -> Response:
    try:
        ident, livemode = accounts.authenticate(request.headers.get("authorization"))
        given = _body(request, body)
        with service.store.transaction() as db:
            account = accounts.opened(db, ident, livemode, service.defaults)
            result = act(Context(db, account, service.base_url), given)
    except StripeError as error:
        return _json(error.body(), error.status)
    service.worker.wake()
    if after is not None:
        after(ident)
    return _json(result)


def _body(request: Request, body: bytes) -> Doc:
    """The JSON body with the path's and the query's names in it."""
    try:
        given = json.loads(body) if body else {}
    except ValueError as error:
        raise invalid("The body is not JSON.") from error
    if not isinstance(given, dict):
        raise invalid("The body is not a JSON object.")
    return {**given, **request.query_params, **request.path_params}


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value, indent=2), status, media_type="application/json")


def _clock(ctx: Context) -> Doc:
    row = ctx.db.execute("SELECT * FROM accounts WHERE id = ?", (ctx.account.id,)).fetchone()
    return clock.state(row)


def _move_clock(ctx: Context, body: Doc) -> Doc:
    """{"freeze": true | false, "set": seconds since the epoch, "advance": seconds}, any of them."""
    numbers = {name: body.get(name) for name in ("set", "advance")}
    if any(isinstance(v, bool) or not isinstance(v, int | float | None) for v in numbers.values()):
        raise invalid("set and advance are numbers of seconds.", "set")
    if not isinstance(body.get("freeze"), bool | None):
        raise invalid("freeze is true or false.", "freeze")
    row = ctx.db.execute("SELECT * FROM accounts WHERE id = ?", (ctx.account.id,)).fetchone()
    frozen, offset = clock.moved(
        row, freeze=body.get("freeze"), set_to=body.get("set"), advance=float(body.get("advance") or 0)
    )
    ctx.db.execute("UPDATE accounts SET frozen_at = ?, clock_offset = ? WHERE id = ?", (frozen, offset, ctx.account.id))
    return _clock(ctx)


def _catch_up(service: Service, account: str) -> None:
    """What became due by moving the clock is done before the call returns."""
    service.worker.run_due(account)
    service.worker.wake()


def _settings(ctx: Context, body: Doc) -> Doc:
    for name, value in body.items():
        known = SETTINGS.get(name)
        if known is None or isinstance(value, bool) != isinstance(known, bool):
            raise invalid(f"Invalid setting: {name[:80]}.", name[:80])
        if not isinstance(value, int | float if isinstance(known, int | float) else str):
            raise invalid(f"Invalid setting: {name}.", name)
    if body.get("order", "in_order") not in ("in_order", "reversed", "shuffled"):
        raise invalid("order is in_order, reversed or shuffled.", "order")
    accounts.change_settings(ctx.db, ctx.account.id, body)
    return {**ctx.account.settings, **body}


def _deliveries(ctx: Context) -> Doc:
    rows = ctx.db.execute("SELECT * FROM deliveries WHERE account = ? ORDER BY id", (ctx.account.id,)).fetchall()
    log = ctx.db.execute("SELECT * FROM delivery_log WHERE account = ? ORDER BY id", (ctx.account.id,)).fetchall()
    return {
        "deliveries": [{name: row[name] for name in row.keys() if name != "account"} for row in rows],  # noqa: SIM118
        "log": [{name: row[name] for name in row.keys() if name != "account"} for row in log],  # noqa: SIM118
    }


def _roll(ctx: Context, body: Doc) -> Doc:
    """A new signing secret, given by the caller; the old one goes on signing for `overlap_seconds`."""
    secret = body.get("secret")
    if not isinstance(secret, str) or not secret.startswith("whsec_") or len(secret) < 20:
        raise invalid("secret is whsec_ and at least 14 characters.", "secret")
    endpoint = ctx.load("webhook_endpoint", body["ident"])
    overlap = float(body.get("overlap_seconds", 0))
    endpoint.update(_old_secret=endpoint["_secret"], _old_until=time.time() + overlap, _secret=secret)
    ctx.save(endpoint)
    return {"id": endpoint["id"], "overlap_seconds": overlap}


def _restricted_key(ctx: Context, body: Doc) -> Doc:
    """{"rights": {"invoice": "write", "event": "read", …}}: a new key of this account, shown once."""
    rights = body.get("rights")
    if not isinstance(rights, dict):
        raise invalid("rights is an object of Stripe's names of rights and levels.", "rights")
    return {"key": permissions.make(ctx.db, ctx.account.id, ctx.account.livemode, rights)}


def _reset(ctx: Context, _body: Doc) -> Doc:
    for statement in RESET:
        ctx.db.execute(statement, (ctx.account.id,))
    return {"reset": ctx.account.id}


def _wait_idle(service: Service, request: Request, body: bytes) -> Response:
    """Answers once every job that is due ran and every delivery is over, retries included; `idle` false at the timeout.

    {"timeout": seconds, "retries": false to leave deliveries alone that wait for another attempt}
    """
    try:
        ident, _ = accounts.authenticate(request.headers.get("authorization"))
        given = _body(request, body)
    except StripeError as error:
        return _json(error.body(), error.status)
    until = time.monotonic() + min(float(given.get("timeout", 10)), LONGEST_WAIT)
    while True:
        state = _pending(service, ident, retries=given.get("retries", True) is not False)
        if state["idle"] or time.monotonic() > until:
            return _json(state)
        time.sleep(POLL_SECONDS)


def _pending(service: Service, ident: str, *, retries: bool) -> Doc:
    with service.store.transaction() as db:
        account: Account | None = accounts.load(db, ident, service.defaults)
        if account is None:
            return {"idle": True, "jobs": 0, "deliveries": 0}
        due = db.execute(
            "SELECT count(*) AS n FROM jobs WHERE account = ? AND due <= ?", (ident, account.now)
        ).fetchone()
        attempts = 10**9 if retries else 0
        open_ = db.execute(
            "SELECT count(*) AS n FROM deliveries WHERE account = ? AND state = 'pending' AND attempts <= ?",
            (ident, attempts),
        ).fetchone()
        jobs = due["n"] + (db.execute(DUE_BY_CLOCK, (ident,)).fetchone() is not None)
    return {"idle": jobs + open_["n"] == 0, "jobs": jobs, "deliveries": open_["n"]}
