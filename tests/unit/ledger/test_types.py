"""What the column types refuse before a statement is sent."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import make_url

from ledger.types import ExactDecimal, ExactJson, UtcDateTime

DIALECTS = [pytest.param(make_url(f"{name}://").get_dialect()(), id=name) for name in ("sqlite", "postgresql+psycopg")]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("value", [1.5, 1, "1.5", True])
def test_M1_only_a_decimal_is_a_decimal(dialect: Any, value: Any) -> None:
    with pytest.raises(TypeError, match="where a Decimal is due"):
        ExactDecimal().process_bind_param(value, dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_M1_what_is_no_number_is_not_stored(dialect: Any, value: str) -> None:
    with pytest.raises(ValueError, match="finite"):
        ExactDecimal().process_bind_param(Decimal(value), dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("document", [{"a": 1.0}, [{"a": [1.0]}], 0.1])
def test_M1_json_with_a_float_is_refused(dialect: Any, document: Any) -> None:
    with pytest.raises(TypeError, match="float"):
        ExactJson().process_bind_param(document, dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_time_without_a_zone_is_refused(dialect: Any) -> None:
    with pytest.raises(ValueError, match="timezone"):
        UtcDateTime().process_bind_param(datetime(2026, 1, 1), dialect)  # noqa: DTZ001 - the mistake under test
