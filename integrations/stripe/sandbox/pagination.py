"""Lists, newest first: `limit`, `starting_after`, `ending_before`, ranges of `created`, and the search form of them."""

import base64
from collections.abc import Sequence
from typing import Any

from integrations.stripe.sandbox import render, store
from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.errors import Doc, invalid, missing

DEFAULT_LIMIT = 10


def limit_of(params: Doc) -> int:
    limit = int(params.get("limit", DEFAULT_LIMIT))
    if not 1 <= limit <= 100:
        raise invalid("Invalid limit: must be between 1 and 100.", "limit", "parameter_invalid_integer")
    return limit


def ranges(params: Doc, *names: str) -> list[store.Filter]:
    """Filters of `created=5` and `created[gte]=5`."""
    out: list[store.Filter] = []
    for name in names:
        given = params.get(name)
        if isinstance(given, dict):
            out += [(name, operator, value) for operator, value in given.items()]
        elif given is not None:
            out.append((name, "eq", given))
    return out


def equals(params: Doc, *names: str) -> list[store.Filter]:
    return [(name, "eq", params[name]) for name in names if params.get(name) is not None]


def of_clock(params: Doc) -> store.Filter:
    """What a test clock holds is listed for that clock only."""
    clock = params.get("test_clock")
    return ("test_clock", "null", None) if clock is None else ("test_clock", "eq", clock)


def page(ctx: Context, params: Doc, kind: str, url: str, filters: Sequence[store.Filter] = ()) -> Doc:
    """One page as Stripe answers it. Raises 400 for a cursor that names nothing, or for both cursors at once."""
    limit = limit_of(params)
    after, before = params.get("starting_after"), params.get("ending_before")
    if after and before:
        raise invalid("You may only specify one of these parameters: starting_after, ending_before.", "starting_after")
    bounds: dict[str, Any] = {}
    for name, bound, cursor in (("starting_after", "before", after), ("ending_before", "after", before)):
        if cursor:
            bounds[bound] = store.sequence(ctx.db, ctx.account.id, kind, cursor)
            if bounds[bound] is None:
                raise missing(kind, cursor, name, 400)
    wanted = [*ranges(params, "created"), *filters]
    found = ctx.find(kind, *wanted, limit=limit + 1, oldest_first=bool(before), **bounds)
    shown = [render.show(ctx, doc) for doc in found[:limit]]
    if before:
        shown.reverse()
    return {"object": "list", "data": shown, "has_more": len(found) > limit, "url": url}


def search_page(ctx: Context, params: Doc, url: str, found: Sequence[Doc]) -> Doc:
    """One page of search results; `page` is the opaque `next_page` of the answer before."""
    limit, start = limit_of(params), 0
    if token := params.get("page"):
        try:
            start = int(base64.urlsafe_b64decode(token.encode()).decode())
        except ValueError as error:
            raise invalid("Invalid page token.", "page") from error
    more = len(found) > start + limit
    following = base64.urlsafe_b64encode(str(start + limit).encode()).decode() if more else None
    shown = [render.show(ctx, doc) for doc in found[start : start + limit]]
    return {"object": "search_result", "data": shown, "has_more": more, "next_page": following, "url": url}
