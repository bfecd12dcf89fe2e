"""/v1/events: what happened in the last 30 days, newest first."""

from integrations.stripe.sandbox import pagination
from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.errors import Doc, invalid, missing
from integrations.stripe.sandbox.events import KEPT_SECONDS
from integrations.stripe.sandbox.routing import operation
from integrations.stripe.sandbox.store import Filter


@operation("GET /v1/events/{id}", "event")
def retrieve(ctx: Context, _params: Doc, ident: str) -> Doc:
    event = ctx.load("event", ident)
    if event["created"] < ctx.now - KEPT_SECONDS:
        raise missing("event", ident)
    return event


@operation("GET /v1/events", "event", "created type types")
def index(ctx: Context, params: Doc) -> Doc:
    if params.get("type") and params.get("types"):
        raise invalid("You may only specify one of these parameters: type, types.", "type")
    types = params.get("types") or ([params["type"]] if params.get("type") else [])
    if len(types) > 20:
        raise invalid("You may only specify up to 20 of these values", "types")
    filters: list[Filter] = [("created", "gte", ctx.now - KEPT_SECONDS)]
    if any("*" in kind for kind in types):
        filters += [("type", "in", _matching(ctx, types))]
    elif types:
        filters += [("type", "in", types)]
    return pagination.page(ctx, params, "event", "/v1/events", filters)


def _matching(ctx: Context, patterns: list[str]) -> list[str]:
    """`invoice.*` names every type that starts so."""
    rows = ctx.db.execute(
        "SELECT DISTINCT json_extract(doc, '$.type') AS type FROM objects WHERE account = ? AND kind = 'event'",
        (ctx.account.id,),
    )
    heads = [pattern.removesuffix("*") for pattern in patterns if pattern.endswith("*")]
    return [row["type"] for row in rows if row["type"] in patterns or row["type"].startswith(tuple(heads))]
