"""Column types that are exact both ways: decimals, instants, and JSON without floats."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import JSON, DateTime, Dialect, Numeric, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine

_ZERO: Final = timedelta(0)


class ExactDecimal(TypeDecorator[Decimal]):
    """A Decimal that comes back digit for digit, trailing zeros included.

    NUMERIC without bounds on PostgreSQL. SQLite would turn NUMERIC into a double, so there it is text; such a column
    must not be compared or summed in SQL.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Numeric(asdecimal=True) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Decimal | str | None:
        if value is None:
            return None
        plain = _plain(value)
        return Decimal(plain) if dialect.name == "postgresql" else plain

    def process_result_value(self, value: Decimal | str | None, dialect: Dialect) -> Decimal | None:
        return Decimal(value) if isinstance(value, str) else value


class TextArray(TypeDecorator[list[str]]):
    """A list of texts as one parameter, for `rows.among`: an array on PostgreSQL, a JSON document on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(Text()) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: list[str] | None, dialect: Dialect) -> Any:
        return value if value is None or dialect.name == "postgresql" else json.dumps(value)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware instant in, the same instant in UTC out, to the microsecond. Sorts as time on both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        utc = _in_utc(value)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        # The connection's own zone is UTC as well, under another name.
        is_utc = value.tzinfo is None or value.utcoffset() == _ZERO
        return value.replace(tzinfo=UTC) if is_utc else value.astimezone(UTC)


class ExactJson(TypeDecorator[Any]):
    """A JSON document in which numbers with a fraction are strings: a float anywhere inside is refused."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(
            JSONB(none_as_null=True) if dialect.name == "postgresql" else JSON(none_as_null=True)
        )

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        _refuse_floats(value)
        return value


def text_of(value: Any, kind: TypeEngine[Any]) -> str | None:
    """A value as PostgreSQL reads it from text, of a column of ours; checked as it is when it is bound."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
    if isinstance(kind, ExactDecimal):
        return _plain(value)
    if isinstance(kind, UtcDateTime):
        return _in_utc(value).isoformat()
    if isinstance(kind, ExactJson):
        _refuse_floats(value)
        return json.dumps(value)
    return str(value)


def _plain(value: Decimal) -> str:
    if not isinstance(value, Decimal):
        raise TypeError(f"a {type(value).__name__} where a Decimal is due")
    if not value.is_finite():
        raise ValueError("only finite decimals are stored")
    # PostgreSQL knows neither -0 nor positive exponents; plain notation makes both databases agree.
    return format(value.copy_abs() if value.is_zero() else value, "f")


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a datetime without a timezone is not an instant")
    return value.astimezone(UTC)


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise TypeError("a float in a JSON column; write decimals as strings")
    if isinstance(value, dict):
        for inner in value.values():
            _refuse_floats(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _refuse_floats(inner)
