"""Events: what happened, as a snapshot of the object, and one delivery for every endpoint that asked for the type."""

import json
import time
from typing import Any

from integrations.stripe.sandbox import render
from integrations.stripe.sandbox.context import Context, new_id
from integrations.stripe.sandbox.errors import Doc
from integrations.stripe.sandbox.parameters import document

KEPT_SECONDS = 30 * 86400


def emit(ctx: Context, kind: str, doc: Doc, before: Doc | None = None) -> None:
    """Record `kind` about `doc`. With `before`, an update: nothing is recorded when nothing visible changed."""
    data: Doc = {"object": render.show(ctx, doc)}
    if before is not None:
        data["previous_attributes"] = difference(before, doc)
        if not data["previous_attributes"]:
            return
    event = ctx.add(
        {
            "id": new_id("evt"),
            "object": "event",
            "api_version": document()["version"],
            "created": int(ctx.account_time),
            "data": data,
            "livemode": ctx.account.livemode,
            "pending_webhooks": 0,
            "request": {"id": ctx.cause.request_id, "idempotency_key": ctx.cause.idempotency_key},
            "type": kind,
        }
    )
    queue(ctx, event)


def queue(ctx: Context, event: Doc) -> int:
    """One delivery for each enabled endpoint that wants the event's type; how many there are."""
    endpoints = [
        endpoint
        for endpoint in ctx.find("webhook_endpoint", ("status", "eq", "enabled"), oldest_first=True)
        if "*" in endpoint["enabled_events"] or event["type"] in endpoint["enabled_events"]
    ]
    ctx.db.executemany(
        "INSERT INTO deliveries (account, event, type, endpoint, due) VALUES (?, ?, ?, ?, ?)",
        [(ctx.account.id, event["id"], event["type"], endpoint["id"], time.time()) for endpoint in endpoints],
    )
    return len(endpoints)


def difference(before: Any, after: Any) -> Doc:
    """The old values of what changed, hashes compared key by key; a key that is new shows as null."""
    out: Doc = {}
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if name.startswith("_") or json.dumps(old) == json.dumps(new):
            continue
        out[name] = difference(old, new) if isinstance(old, dict) and isinstance(new, dict) else old
    return out


@render.fills("event")
def _pending(ctx: Context, event: Doc, shown: Doc) -> None:
    row = ctx.db.execute(
        "SELECT count(DISTINCT endpoint) AS n FROM deliveries WHERE account = ? AND event = ? AND state = 'pending'",
        (ctx.account.id, event["id"]),
    ).fetchone()
    shown["pending_webhooks"] = row["n"]
