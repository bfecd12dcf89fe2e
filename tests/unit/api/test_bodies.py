"""Numbers keep their digits from the request's bytes to the value."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from pydantic import ValidationError

from api.bodies import exact_json
from api.schemas.common import DecimalIn, DecimalOut, Instant, Model


class Amount(Model):
    given: DecimalIn | None = None
    shown: DecimalOut | None = None
    at: Instant | None = None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"123456789012345678.123456789012"', "123456789012345678.123456789012"),
        ("123456789012345678.123456789012", "123456789012345678.123456789012"),
        ("0.1", "0.1"),
        ("1e-7", "0.0000001"),
        ("12", "12"),
    ],
)
def test_a_number_is_taken_as_it_was_written(text: str, value: str) -> None:
    amount = Amount.model_validate(exact_json(f'{{"given": {text}}}'.encode()))
    assert amount.given == Decimal(value)
    assert json.loads(amount.model_dump_json())["given"] == value


@pytest.mark.parametrize(
    "value", [0.1, True, "1e5", "NaN", "Infinity", "", " 1", "١", "1_000", Decimal("1e99"), "9" * 61]
)
def test_what_is_no_exact_decimal_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        Amount.model_validate({"given": value})


def test_answers_write_decimals_plainly_and_times_in_utc() -> None:
    amount = Amount.model_validate({"shown": Decimal("1E-7"), "at": "2024-01-20T01:00:00+01:00"})
    assert amount.model_dump_json(exclude_none=True) == '{"shown":"0.0000001","at":"2024-01-20T00:00:00Z"}'


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"NaN", b"[Infinity]", b"\xff", b"[" * 100_000, b"9" * 5000, b"1e99999999999999999999"]
)
def test_what_is_not_json_is_told_as_such(raw: bytes) -> None:
    with pytest.raises(json.JSONDecodeError):
        exact_json(raw)
