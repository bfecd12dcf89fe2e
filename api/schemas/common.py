"""The building blocks of every body: strict models, exact decimals, instants, names in any case."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from billing.errors import InvalidInput
from billing.instant import format_instant, parse_instant

__all__ = [
    "CollectionMethod",
    "CurrencyIn",
    "CustomerRef",
    "DecimalIn",
    "DecimalOut",
    "Instant",
    "Listing",
    "LongText",
    "Metadata",
    "Model",
    "Name",
    "ShortName",
    "Slug",
    "TaxRateIds",
    "TimezoneName",
    "WebAddress",
    "any_case",
    "read_instant",
]

T = TypeVar("T")

# Beyond this a decimal is no price and no quantity; without a bound `1e999999999` would be written out digit by digit.
_MOST_DIGITS = 60
_DECIMAL_PATTERN = r"^-?[0-9]{1,60}(\.[0-9]{1,60})?$"
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Model(BaseModel):
    """Refuses unknown fields: a misspelt one would otherwise be dropped without a word."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _read_decimal(value: object) -> Decimal:
    if isinstance(value, str) and re.fullmatch(_DECIMAL_PATTERN, value, re.ASCII):
        value = Decimal(value)
    # A bool is an int to Python, and a float has lost its digits already.
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise PydanticCustomError("not_a_decimal", 'Write a decimal number as a string, such as "0.008".')
    number = Decimal(value)
    if not number.is_finite() or len(number.as_tuple().digits) > _MOST_DIGITS or abs(number.adjusted()) >= _MOST_DIGITS:
        raise PydanticCustomError("decimal_out_of_range", "The number has too many digits.")
    return number


def read_instant(value: object) -> datetime:
    """A moment in UTC; PydanticCustomError for anything but an RFC 3339 time with an offset."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    try:
        instant = parse_instant(value, "")  # type: ignore[arg-type]
    except InvalidInput as error:
        raise PydanticCustomError(
            "not_a_time", "Write an RFC 3339 time with its offset, such as 2024-01-20T00:00:00Z."
        ) from error
    if not _EARLIEST <= instant < _LATEST:
        raise PydanticCustomError("time_out_of_range", "The time lies outside the years 1970 to 2199.")
    return instant


def _write_decimal(value: Decimal) -> str:
    return format(value, "f")


def _one_line(value: str) -> str:
    if _CONTROL.search(value):
        raise PydanticCustomError("control_character", "The text holds a control character.")
    return value


def _some_lines(value: str) -> str:
    if _CONTROL_BUT_LINES.search(value):
        raise PydanticCustomError("control_character", "The text holds a control character.")
    return value


def _few_keys(value: Mapping[str, str]) -> Mapping[str, str]:
    if len(value) > 50:
        raise PydanticCustomError("too_many_keys", "Metadata holds at most 50 keys.")
    return value


def any_case(**synonyms: str) -> BeforeValidator:
    """Read an enum in any case; a synonym is what is accepted on the left and what it means on the right."""

    def fold(value: Any) -> Any:
        return synonyms.get(value.lower(), value.lower()) if isinstance(value, str) else value

    return BeforeValidator(fold)


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


DecimalIn = Annotated[
    Decimal,
    BeforeValidator(_read_decimal),
    PlainSerializer(_write_decimal, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": _DECIMAL_PATTERN}, {"type": "number"}],
            "description": "A decimal as a string, or as a number whose digits are taken as written.",
            "examples": ["0.008"],
        }
    ),
]
DecimalOut = Annotated[
    Decimal,
    PlainSerializer(_write_decimal, return_type=str, when_used="json"),
    # A product of several numbers has as many digits as all of them.
    WithJsonSchema({"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "examples": ["118.50"]}),
]
Instant = Annotated[
    datetime,
    BeforeValidator(read_instant),
    PlainSerializer(format_instant, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2024-01-20T00:00:00Z"]}),
]

# What `_one_line` and `_some_lines` refuse, for the document.
_NO_CONTROL: dict[str, JsonValue] = {"pattern": r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"}
_NO_CONTROL_BUT_LINES: dict[str, JsonValue] = {"pattern": r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f]*$"}

Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255),
    AfterValidator(_one_line),
    Field(json_schema_extra=_NO_CONTROL),
]
ShortName = Annotated[Name, StringConstraints(max_length=200)]
LongText = Annotated[
    str,
    StringConstraints(max_length=2000),
    AfterValidator(_some_lines),
    Field(json_schema_extra=_NO_CONTROL_BUT_LINES),
]
Slug = Annotated[str, StringConstraints(min_length=1, max_length=120, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$")]
TaxRateIds = Annotated[tuple[Slug, ...], Field(max_length=20)]
CustomerRef = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255),
    AfterValidator(_one_line),
    Field(description="Our id (`cus_…`) or the id that you gave the customer.", json_schema_extra=_NO_CONTROL),
]
CurrencyIn = Annotated[
    str,
    BeforeValidator(_upper),
    StringConstraints(pattern=r"^[A-Z]{3}$"),
    WithJsonSchema({"type": "string", "pattern": "^[A-Za-z]{3}$", "examples": ["USD"], "description": "ISO 4217."}),
]
TimezoneName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$"),
    Field(description="An IANA time zone.", examples=["Europe/Berlin"]),
]
WebAddress = Annotated[
    str,
    StringConstraints(min_length=10, max_length=2000, pattern=r"^https?://[^\s\x00-\x1f\x7f-\x9f]+$"),
    AfterValidator(_one_line),
]
CollectionMethod = Annotated[Literal["charge_automatically", "send_invoice"], any_case()]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=40), AfterValidator(_one_line)],
        Annotated[str, StringConstraints(max_length=500), AfterValidator(_some_lines)],
    ],
    AfterValidator(_few_keys),
]


class Listing(Model, Generic[T]):
    """One page of a list, newest first."""

    items: list[T]
    next_cursor: str | None = Field(default=None, description="Pass it as `cursor` to read on; null at the end.")
