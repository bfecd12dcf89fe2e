"""Hold a call's parameters to Stripe's own document and give them types: integers, booleans, lists, nested dicts."""

import gzip
import json
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from integrations.stripe.sandbox.errors import Doc, StripeError, invalid, not_served

DECIMAL = re.compile(r"-?\d+(\.\d{1,12})?")
ALWAYS_SERVED = ("expand",)
LISTING = ("limit", "starting_after", "ending_before")
METADATA = ("metadata", "invoice_metadata")


@cache
def document() -> Doc:
    packed = resources.files("integrations.stripe.sandbox").joinpath("document.json.gz").read_bytes()
    return dict(json.loads(gzip.decompress(packed)))


def read(operation: str, given: Doc, served: tuple[str, ...]) -> Doc:
    """Typed parameters of `operation` ("POST /v1/invoices").

    Raises 400: unknown and missing parameters, wrong types, limits; and parameters that Stripe takes but the sandbox
    does not act on (`served` names those that it does, as dotted prefixes).
    """
    schema = document()["operations"][operation]
    value = _object(given, schema, "")
    for path in _leaves(value, ""):
        if not any(path == name or path.startswith(f"{name}.") for name in (*served, *ALWAYS_SERVED, *LISTING)):
            raise not_served(_bracketed(path))
    return value


def _leaves(value: Any, path: str) -> Iterator[str]:
    """Dotted paths of what was sent, list positions left out."""
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        for item in value:
            yield from _leaves(item, path)
    elif path:
        yield path


def _bracketed(path: str) -> str:
    head, *rest = path.split(".")
    return head + "".join(f"[{part}]" for part in rest)


def _value(value: Any, schema: Doc, at: str) -> Any:
    if "anyOf" in schema:
        return _either(value, schema["anyOf"], at)
    kind = schema.get("type")
    if kind == "object":
        if not isinstance(value, dict):
            raise invalid("Invalid object", at)
        return _object(value, schema, at)
    if kind == "array":
        return _array(value, schema, at)
    if isinstance(value, dict):
        raise invalid(f"Invalid {kind or 'string'}: {{...}}", at)
    return _scalar(value, schema, at)


def _either(value: Any, options: list[Doc], at: str) -> Any:
    shape = "object" if isinstance(value, dict) else "scalar"
    first: StripeError | None = None
    for option in sorted(options, key=lambda o: (_shape(o) != shape, o.get("enum") == [""])):
        try:
            return _value(value, option, at)
        except StripeError as error:
            first = first or error
    raise first or invalid("Invalid value", at)


def _shape(schema: Doc) -> str:
    return "object" if schema.get("type") in ("object", "array") else "scalar"


def _object(value: Doc, schema: Doc, at: str) -> Doc:
    properties, extra = schema.get("properties", {}), schema.get("additionalProperties")
    out: Doc = {}
    for name, item in value.items():
        here = f"{at}[{name}]" if at else name
        if name in properties:
            out[name] = _value(item, properties[name], here)
        elif isinstance(extra, dict):
            out[name] = _value(item, extra, here)
        else:
            raise invalid(f"Received unknown parameter: {here}", here, "parameter_unknown")
    for name in schema.get("required", []):
        if name not in out:
            here = f"{at}[{name}]" if at else name
            raise invalid(f"Missing required param: {here}.", here, "parameter_missing")
    if re.split(r"[\[\]]+", at.rstrip("]"))[-1] in METADATA:
        _metadata(out, at)
    return out


def _metadata(value: Doc, at: str) -> None:
    if len(value) > 50:
        raise invalid(f"Metadata can have up to 50 keys, you passed in {len(value)}.", at)
    for name, item in value.items():
        if len(name) > 40:
            raise invalid(f"Metadata keys can have up to 40 characters, but you passed in a {len(name)}.", at)
        if len(item) > 500:
            message = f"Metadata values can have up to 500 characters, but you passed in a value of {len(item)}."
            raise invalid(message, f"{at}[{name}]")


def _array(value: Any, schema: Doc, at: str) -> list[Any]:
    if not isinstance(value, dict) or not all(name.isdecimal() and len(name) < 7 for name in value):
        raise invalid("Invalid array", at)
    if len(value) > schema.get("maxItems", len(value)):
        raise invalid(f"You may only specify up to {schema['maxItems']} of these values", at)
    return [_value(value[name], schema.get("items", {}), f"{at}[{name}]") for name in sorted(value, key=int)]


def _scalar(text: str, schema: Doc, at: str) -> Any:
    kind = schema.get("type")
    if kind == "integer":
        if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
            raise invalid(f"Invalid integer: {text[:40]}", at, "parameter_invalid_integer")
        return int(text)
    if kind == "number":
        if not re.fullmatch(r"-?\d{1,9}(\.\d{1,9})?", text, re.ASCII):
            raise invalid(f"Invalid number: {text[:40]}", at)
        return float(text) if "." in text else int(text)
    if kind == "boolean":
        if text not in ("true", "false"):
            raise invalid(f"Invalid boolean: {text[:40]}", at)
        return text == "true"
    if schema.get("format") == "decimal" and not DECIMAL.fullmatch(text):
        raise invalid(f"Invalid decimal: {text[:40]}", at, "parameter_invalid_decimal")
    if "enum" in schema and text not in schema["enum"]:
        allowed = ", ".join(str(option) for option in schema["enum"][:40])
        raise invalid(f"Invalid {at}: must be one of {allowed}", at)
    if len(text) > schema.get("maxLength", len(text)):
        message = f"Invalid string: must be at most {schema['maxLength']} characters"
        raise invalid(message, at, "parameter_invalid_string")
    return text
