"""Stripe's bracket form encoding: `lines[0][period][start]=1` as nested dicts, lists under their index."""

import re
import urllib.parse

from integrations.stripe.sandbox.errors import Doc, StripeError, invalid

SEGMENT = re.compile(r"\[([^\[\]]*)\]")
DEPTH = 8


def decode(encoded: str) -> Doc:
    """Nested dicts of strings; list elements under "0", "1", …, and `a[]` numbered in order.

    Raises 400 for a key given twice, or used both as a value and as a container.
    """
    root: Doc = {}
    try:
        pairs = urllib.parse.parse_qsl(encoded, keep_blank_values=True, max_num_fields=10_000, errors="strict")
    except ValueError as error:
        raise invalid("Invalid request: the body is not a form in UTF-8.") from error
    for key, value in pairs:
        _put(root, key, value)
    return root


def _put(root: Doc, key: str, value: str) -> None:
    head, bracket, rest = key.partition("[")
    parts = [head, *SEGMENT.findall(bracket + rest)]
    if len(parts) > DEPTH:
        raise _malformed(key)
    node = root
    for part in parts[:-1]:
        node = node.setdefault(part or str(len(node)), {})
        if not isinstance(node, dict):
            raise _malformed(key)
    last = parts[-1] or str(len(node))
    if last in node:
        raise _malformed(key)
    node[last] = value


def _malformed(key: str) -> StripeError:
    return invalid(f"Invalid request: check the parameter {key[:80]}.", key[:80])
