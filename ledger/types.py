"""Column types that are exact both ways: decimals, instants, and JSON without floats."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

from msgspec.json import encode
from sqlalchemy import JSON, Boolean, DateTime, Dialect, Numeric, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine


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

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        # psycopg makes the Decimal; a call for each value to hand it on would cost more than that.
        return None if dialect.name == "postgresql" else super().result_processor(dialect, coltype)


class TextArray(TypeDecorator[Sequence[str | None]]):
    """A list of texts as one parameter: an array on PostgreSQL, a JSON document on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(Text()) if dialect.name == "postgresql" else Text())

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:
        # Written out here: the driver would look at each text several times.
        write = array_text if dialect.name == "postgresql" else json.dumps
        return lambda value: None if value is None else write(value)


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
        return value if value is None else value.replace(tzinfo=UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        # psycopg gives instants in the connection's zone, and that is UTC (`ledger.db`).
        return None if dialect.name == "postgresql" else super().result_processor(dialect, coltype)


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


def array_text(values: Sequence[str | None]) -> str:
    r"""Texts as PostgreSQL reads an array of them.

    >>> print(array_text(["a", None, 'b"c']))
    {"a",NULL,"b\"c"}
    """
    if values and None not in values:
        joined = "\0".join(cast("Sequence[str]", values))
        # PostgreSQL has no NUL in a text, but a caller may.
        if joined.count("\0") == len(values) - 1:
            return '{"' + joined.replace("\\", "\\\\").replace('"', '\\"').replace("\0", '","') + '"}'
    return "{" + ",".join("NULL" if value is None else _quoted(value) for value in values) + "}"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def texts_of(values: Sequence[Any], kind: TypeEngine[Any]) -> Sequence[str | None]:
    """Values of a column of ours as PostgreSQL reads them from text; checked as they are when they are bound.

    Many rows share an object, which is written out once.
    """
    if isinstance(kind, Text):
        return values
    write = _writer_of(kind)
    written: dict[int, str | None] = {id(None): None}
    texts: list[str | None] = []
    for value in values:
        known = id(value)
        if known not in written:
            written[known] = write(value)
        texts.append(written[known])
    return texts


def _writer_of(kind: TypeEngine[Any]) -> Callable[[Any], str]:
    if isinstance(kind, ExactDecimal):
        return _plain
    if isinstance(kind, UtcDateTime):
        return lambda value: _in_utc(value).isoformat()
    if isinstance(kind, ExactJson):
        return _json
    if isinstance(kind, Boolean):
        return lambda value: "true" if value else "false"
    return str


def _json(value: Any) -> str:
    if value == []:
        return "[]"
    _refuse_floats(value)
    return encode(value).decode()


def _plain(value: Decimal) -> str:
    if not isinstance(value, Decimal):
        raise TypeError(f"a {type(value).__name__} where a Decimal is due")
    text = str(value)
    if text.isascii() and text.replace(".", "").isdecimal():
        return text
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
