"""Stored objects as Stripe shows them: private fields gone, lists and links filled in, `expand` followed.

Which fields `expand` may follow comes from Stripe's document; what stands there comes from the stored ids.
"""

import copy
from collections.abc import Callable
from typing import Any

from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.errors import Doc, StripeError, invalid
from integrations.stripe.sandbox.parameters import document

Fill = Callable[[Context, Doc, Doc], None]
Include = Callable[[Context, Doc], Any]

FILLS: dict[str, Fill] = {}
INCLUDES: dict[tuple[str, str], Include] = {}
LEVELS = 4
# What an include answers where the object has no such field, asked for or not.
ABSENT = object()


def fills(kind: str) -> Callable[[Fill], Fill]:
    """Registers what completes a kind: called with the context, the stored object and the copy to be shown."""

    def register(fill: Fill) -> Fill:
        FILLS[kind] = fill
        return fill

    return register


def includes(kind: str, field: str) -> Callable[[Include], Include]:
    """Registers a field that is only there when `expand` asks for it."""

    def register(include: Include) -> Include:
        INCLUDES[kind, field] = include
        return include

    return register


def show(ctx: Context, doc: Doc) -> Doc:
    shown = {name: copy.deepcopy(value) for name, value in doc.items() if not name.startswith("_")}
    if not shown.get("deleted") and (fill := FILLS.get(doc["object"])):
        fill(ctx, doc, shown)
    return shown


def expanded(ctx: Context, shown: Doc, paths: list[str], kind: str) -> Doc:
    """`shown` (an object of `kind`, or a list of them) with every path of `expand` followed.

    Raises 400 for a path that Stripe's document does not allow, also when there is nothing to expand.
    """
    listed = shown.get("object") in ("list", "search_result")
    for path in paths:
        parts = path.split(".")
        if len(parts) > LEVELS:
            raise invalid(f"You cannot expand more than {LEVELS} levels of a property: {path[:200]}", "expand")
        if listed and parts.pop(0) != "data":
            raise _unknown(path)
        if not parts or not _allowed(kind, parts):
            raise _unknown(path)
        for target in shown["data"] if listed else [shown]:
            _follow(ctx, target, target, kind, parts)
    return shown


def _allowed(schema: str, parts: list[str]) -> bool:
    field, rest = parts[0], parts[1:]
    step = document()["expansions"].get(schema, {}).get(field)
    if step is None:
        return (schema, field) in INCLUDES and not rest
    if "in" in step:
        return bool(rest) and _allowed(step["in"], rest)
    if "list" in step:
        return not rest or (rest[0] == "data" and (len(rest) == 1 or _allowed(step["list"], rest[1:])))
    return not rest or any(_allowed(target, rest) for target in step["to"])


def _follow(ctx: Context, root: Doc, node: Any, schema: str, parts: list[str]) -> None:
    """`root` is the object that `node` (itself, or a hash inside it) belongs to."""
    if isinstance(node, list):
        for item in node:
            _follow(ctx, root, item, schema, parts)
        return
    if not parts or not isinstance(node, dict):
        return
    field, rest = parts[0], parts[1:]
    include = INCLUDES.get((schema, field))
    if include is not None and field not in node:
        found = include(ctx, ctx.get(root["id"]) or root)
        if found is not ABSENT:
            node[field] = found
    step = document()["expansions"].get(schema, {}).get(field, {})
    if "in" in step:
        _follow(ctx, root, node.get(field), step["in"], rest)
    elif "list" in step:
        for item in node.get(field, {}).get("data", []):
            _follow(ctx, item, item, step["list"], rest[1:])
    elif "to" in step and field in node:
        node[field] = _resolved(ctx, node[field])
        for target in node[field] if isinstance(node[field], list) else [node[field]]:
            if isinstance(target, dict):
                _follow(ctx, target, target, target["object"], rest)


def _resolved(ctx: Context, value: Any) -> Any:
    """An id becomes its object; what is expanded already, null, or unknown to the sandbox stays."""
    if isinstance(value, list):
        return [_resolved(ctx, item) for item in value]
    doc = ctx.get(value) if isinstance(value, str) else None
    return value if doc is None else show(ctx, doc)


def _unknown(path: str) -> StripeError:
    return invalid(f"This property cannot be expanded ({path[:200]}).", "expand")
