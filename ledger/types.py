"""Column types that are exact both ways: decimals, instants, and JSON without floats."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB
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
        if not isinstance(value, Decimal):
            raise TypeError(f"a {type(value).__name__} where a Decimal is due")
        if not value.is_finite():
            raise ValueError("only finite decimals are stored")
        # PostgreSQL knows neither -0 nor positive exponents; plain notation makes both databases agree.
        plain = format(value.copy_abs() if value.is_zero() else value, "f")
        return Decimal(plain) if dialect.name == "postgresql" else plain

    def process_result_value(self, value: Decimal | str | None, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware instant in, the same instant in UTC out, to the microsecond. Sorts as time on both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a timezone is not an instant")
        utc = value.astimezone(UTC)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


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


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise TypeError("a float in a JSON column; write decimals as strings")
    if isinstance(value, dict):
        for inner in value.values():
            _refuse_floats(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _refuse_floats(inner)
