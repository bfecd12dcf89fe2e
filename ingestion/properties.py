"""Property values as the texts that were sent: no number goes through a double on its way (promise E6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from ingestion.event import Limits
from ingestion.refusal import BadEventError

_text: Final = msgspec.json.Decoder(str).decode
_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_QUOTE, _NULL, _BRACE = b'"n{'


def texts(raws: dict[str, msgspec.Raw], limits: Limits) -> dict[str, str | None]:
    """Each key with the text of its value, and each leaf of a nested object under its dotted path as well.

    So meters can read it: `{"o": {"a": 1.50}}` gives `o` = `{"a": 1.50}` and `o.a` = `1.50`. A key that was written
    with its dots stands before a path that comes to the same. Raises BadEventError past a bound.
    """
    found: dict[str, str | None] = {}
    nested: list[tuple[str, bytes]] = []
    longest, largest = limits.property_key_length, limits.property_bytes
    try:
        for key, raw in raws.items():
            value = bytes(raw)
            if len(value) > largest or not 0 < len(key) <= longest:
                raise _out_of_bounds(key, limits)
            first = value[0]
            if first == _QUOTE:
                found[key] = _text(value)
            elif first == _NULL:
                found[key] = None
            else:
                found[key] = value.decode()
                if first == _BRACE:
                    nested.append((key, value))
        for key, value in nested:
            for path, text in _leaves(value, f"{key}.", 1, limits):
                found.setdefault(path, text)
                if len(found) > limits.properties:
                    break
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadEventError("not_utf8", "holds bytes or escapes that are not text", "properties") from error
    if len(found) > limits.properties:
        raise BadEventError("too_many_properties", f"has more than {limits.properties} values", "properties")
    return found


def _leaves(value: bytes, prefix: str, depth: int, limits: Limits) -> Iterator[tuple[str, str | None]]:
    if depth >= limits.depth:
        raise BadEventError(
            "properties_too_deep", f"is nested more than {limits.depth} deep", _field(prefix.removesuffix("."))
        )
    for key, raw in _object(value).items():
        path = prefix + key
        if not key or len(path) > limits.property_key_length:
            raise _out_of_bounds(path if key else "", limits)
        inner = bytes(raw)
        if inner[0] == _BRACE:
            yield from _leaves(inner, f"{path}.", depth + 1, limits)
        elif inner[0] == _QUOTE:
            yield path, _text(inner)
        else:
            yield path, None if inner[0] == _NULL else inner.decode()


def _out_of_bounds(path: str, limits: Limits) -> BadEventError:
    if not 0 < len(path) <= limits.property_key_length:
        most = limits.property_key_length
        return BadEventError("property_key_length", f"has a key of 0 or of more than {most} characters", "properties")
    return BadEventError("property_too_large", f"is larger than {limits.property_bytes} bytes", _field(path))


def _field(path: str) -> str:
    return f"properties.{path}" if path.isprintable() else "properties"
