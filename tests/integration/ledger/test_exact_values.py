"""Decimals, instants and JSON come back as they went in, on both databases."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, insert, select

from ledger.db import Ledger
from ledger.types import ExactDecimal, ExactJson, UtcDateTime

VALUES = Table(
    "exact_values",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("number", ExactDecimal),
    Column("at", UtcDateTime),
    Column("document", ExactJson),
)
ONE_LEDGER = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def values(ledger: Ledger) -> Iterator[Ledger]:
    """A ledger with a table for these tests."""
    with ledger.begin() as session:
        VALUES.create(session.connection())
    yield ledger
    with ledger.begin() as session:
        VALUES.drop(session.connection())


def stored(ledger: Ledger, column: str, value: Any) -> Any:
    with ledger.begin() as session:
        key = session.execute(insert(VALUES).values({column: value}).returning(VALUES.c.id)).scalar_one()
        return session.execute(select(VALUES.c[column]).where(VALUES.c.id == key)).scalar_one()


@ONE_LEDGER
@given(st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-(10**26), max_value=10**26))
def test_M1_a_decimal_comes_back_digit_for_digit(values: Ledger, number: Decimal) -> None:
    plain = format(number.copy_abs() if number == 0 else number, "f")
    assert format(stored(values, "number", number), "f") == plain


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("123456789012345678.123456789012", "123456789012345678.123456789012"),
        ("10.00", "10.00"),
        ("1E+3", "1000"),
        ("1E-12", "0.000000000001"),
        ("-0.00", "0.00"),
        ("9" * 70, "9" * 70),
    ],
)
def test_M1_a_decimal_keeps_its_scale_and_loses_its_exponent(values: Ledger, number: str, expected: str) -> None:
    assert format(stored(values, "number", Decimal(number)), "f") == expected


@ONE_LEDGER
@given(
    st.datetimes(
        min_value=datetime(1900, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
        max_value=datetime(2200, 1, 1),  # noqa: DTZ001
        timezones=st.builds(timezone, st.timedeltas(timedelta(hours=-14), timedelta(hours=14))),
    )
)
def test_an_instant_comes_back_in_utc_to_the_microsecond(values: Ledger, at: datetime) -> None:
    found = stored(values, "at", at)
    assert found == at
    assert found.tzinfo is UTC


@pytest.mark.parametrize("document", [{"a": ["1.50", None, True, 3]}, {"é": {"b": []}}, {}, None])
def test_json_comes_back_as_it_was(values: Ledger, document: Any) -> None:
    assert stored(values, "document", document) == document


def test_the_type_of_a_number_on_postgresql_is_numeric_and_on_sqlite_text(values: Ledger) -> None:
    with values.begin() as session:
        dialect = session.get_bind().dialect
        compiled = str(VALUES.c.number.type.compile(dialect))
    assert compiled == {"postgresql": "NUMERIC", "sqlite": "TEXT"}[dialect.name]
