"""Reading JSON objects field by field, so that every refusal names its field."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from billing.errors import InvalidInput, join

E = TypeVar("E", bound=StrEnum)


def refuse_unknown(body: Mapping[str, Any], known: Collection[str], field: str = "") -> None:
    """InvalidInput `unknown_field` for the first field that nobody reads: a typing error must not price to zero."""
    for name in body:
        if name not in known:
            raise InvalidInput(
                "unknown_field",
                "is not a known field",
                field=join(field, str(name)[:100]),
                hint=f"Known fields: {', '.join(sorted(known))}.",
            )


def read_object(value: object, field: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInput("not_an_object", "must be a JSON object", field=field or None)
    return value


def read_list(value: object, field: str, *, longest: int) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidInput("not_a_list", "must be a list", field=field)
    if len(value) > longest:
        raise InvalidInput("too_many_items", f"has more than {longest} items", field=field)
    return value


def read_text(value: object, field: str, *, longest: int = 200) -> str:
    """Text of 1 to `longest` characters without control characters."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput("not_text", "must be text that is not empty", field=field)
    if len(value) > longest:
        raise InvalidInput("text_too_long", f"is longer than {longest} characters", field=field)
    if not value.isprintable():
        raise InvalidInput("not_text", "must not hold control characters", field=field)
    return value


def read_enum(kind: type[E], value: object, field: str) -> E:
    """A member of `kind`, read in any case."""
    known = {member.value: member for member in kind}
    member = known.get(value.lower()) if isinstance(value, str) else None
    if member is None:
        raise InvalidInput("unknown_value", "is not a known value", field=field, hint=f"One of: {', '.join(known)}.")
    return member


def required(body: Mapping[str, Any], name: str, field: str, why: str = "") -> Any:
    """The value of `name`, or InvalidInput `missing_field`; null counts as absent."""
    value = body.get(name)
    if value is None:
        raise InvalidInput("missing_field", f"is required{why}", field=join(field, name))
    return value
