"""Enough of Stripe's search query language: `field:'v'`, `metadata['k']:'v'`, `-`, AND or OR, ranges, `~` and null.

Search does not see an object until the account's lag has passed since its last change: it is not for read-after-write.
"""

import re
from typing import Any

from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.errors import Doc, invalid

FIELDS = {
    "customer": ("created", "email", "name", "phone", "metadata"),
    "invoice": (
        "created", "currency", "customer", "number", "receipt_number", "status", "subscription", "total", "metadata",
    ),
    "payment_intent": ("amount", "created", "currency", "customer", "status", "metadata"),
    "price": ("active", "currency", "lookup_key", "product", "type", "metadata"),
    "product": ("active", "description", "name", "shippable", "url", "metadata"),
    "subscription": ("created", "status", "metadata"),
    "charge": ("amount", "created", "currency", "customer", "status", "disputed", "refunded", "metadata"),
}  # fmt: skip
NUMERIC = ("created", "total", "amount")
TERM = re.compile(
    r"""\s*(?P<minus>-?)(?P<field>[a-z_.]+)(\[(?P<q>["'])(?P<key>.*?)(?P=q)\])?"""
    r"""(?P<operator>:|~|>=|<=|>|<)(?P<value>'(\\.|[^'\\])*'|"(\\.|[^"\\])*"|-?[A-Za-z0-9]+)\s*""",
    re.VERBOSE,
)
Term = tuple[bool, str, str | None, str, str | int | None]


def search(ctx: Context, kind: str, query: str) -> list[Doc]:
    """Objects of `kind` that the query matches, newest first. Raises 400 for a query that cannot be read."""
    terms, joined_by_or = parse(kind, query)
    visible = ctx.find(kind, changed_until=ctx.time - float(ctx.account.settings["search_lag_seconds"]))
    combine = any if joined_by_or else all
    return [doc for doc in visible if combine(_matches(doc, term) for term in terms)]


def parse(kind: str, query: str) -> tuple[list[Term], bool]:
    terms: list[Term] = []
    words: set[str] = set()
    rest = query
    while True:
        match = TERM.match(rest)
        if match is None:
            raise invalid(
                'We were unable to parse your search query. Try using the format `metadata["key"]:"value"`'
                ' to query for metadata or key:"value" to query for other fields.',
                "query",
            )
        terms.append(_term(kind, match))
        rest = rest[match.end() :]
        if not rest:
            break
        joint = re.match(r"(AND|OR)\s+", rest)
        words.add(joint.group(1) if joint else "AND")
        rest = rest[joint.end() :] if joint else rest
    if len(words) > 1:
        raise invalid("You cannot combine AND and OR in one query.", "query")
    return terms, words == {"OR"}


def _term(kind: str, match: re.Match[str]) -> Term:
    field, key, text = match["field"], match["key"], match["value"]
    if field not in FIELDS[kind] or (field == "metadata") != (key is not None):
        raise invalid(f"Field `{field}` is an unsupported search field for resource `{kind}s`.", "query")
    value: str | int | None = re.sub(r"\\(.)", r"\1", text[1:-1]) if text[0] in "'\"" else text
    if text.lower() == "null":
        value = None
    if field in NUMERIC and value is not None:
        if not re.fullmatch(r"-?\d+", str(value), re.ASCII):
            raise invalid(f"Field `{field}` takes a number.", "query")
        value = int(value)
    elif match["operator"] not in (":", "~"):
        raise invalid(f"Field `{field}` does not support the operator {match['operator']}.", "query")
    return bool(match["minus"]), field, key, match["operator"], value


def _matches(doc: Doc, term: Term) -> bool:
    minus, field, key, operator, wanted = term
    value: Any = doc.get(field) if key is None else (doc.get("metadata") or {}).get(key)
    return _holds(value, operator, wanted) != minus


def _holds(value: Any, operator: str, wanted: str | int | None) -> bool:
    if wanted is None:
        return value is None
    if value is None:
        return False
    if isinstance(wanted, int):
        number = int(value)
        comparisons = {":": number == wanted, ">": number > wanted, "<": number < wanted, ">=": number >= wanted}
        return comparisons.get(operator, number <= wanted)
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    if operator == "~":
        return wanted.lower() in shown.lower()
    return shown.lower() == wanted.lower()
