"""The demo's trace reader and its choice of a period."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.demo.trace import BUNDLED_TRACE, BillingPeriod, TraceError, choose_period, load_trace

NOW = datetime(2026, 5, 20, 10, 30, tzinfo=UTC)


def test_the_bundled_trace_holds_every_row() -> None:
    trace = load_trace(BUNDLED_TRACE)
    assert trace.height == 19_366
    assert trace.row(0) == (0, datetime(2023, 11, 16, 18, 15, 46, 680590, tzinfo=UTC), 374, 44)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("TIMESTAMP,ContextTokens\n2023-11-16 18:15:46,1\n", "GeneratedTokens is missing"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n", "holds no rows"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nsoon,1,2\n", "row 0 cannot be read"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,1,2\n2023-11-16 18:15:46,x,2\n", "row 1"),
    ],
    ids=["column missing", "empty", "bad time", "bad number"],
)
def test_a_file_that_cannot_be_billed_says_where(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(TraceError, match=complaint):
        load_trace(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"nowhere\.csv: no such file"):
        load_trace(tmp_path / "nowhere.csv")


def test_columns_may_come_in_another_order_and_with_other_time_forms(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(
        "GeneratedTokens,More,TIMESTAMP,ContextTokens\n2,a,2024-02-29T23:59:59Z,1\n3,b,2024-02-29 00:00:00.5,4\n"
    )
    assert load_trace(path).rows() == [
        (0, datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC), 1, 2),
        (1, datetime(2024, 2, 29, 0, 0, 0, 500000, tzinfo=UTC), 4, 3),
    ]


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "last", "period"),
    [
        ("2023-11-16", "2023-11-16", ("2023-11-01", "2023-12-01", "P1M")),
        ("2023-12-31", "2023-12-31T23:59:59", ("2023-12-01", "2024-01-01", "P1M")),
        ("2023-11-16", "2024-01-31", ("2023-11-01", "2024-02-01", "P3M")),
        ("2023-11-16", "2024-10-31", ("2023-11-01", "2024-11-01", "P1Y")),
        ("2026-05-18T06:00", "2026-05-20T10:00:30", ("2026-05-17T10:01", "2026-05-20T10:01", "P3D")),
    ],
    ids=["one month", "year's end", "a quarter", "a year", "the running month"],
)
def test_the_period_holds_the_trace_and_is_over(first: str, last: str, period: tuple[str, str, str]) -> None:
    start, end, interval = period
    assert choose_period(_at(first), _at(last), NOW) == BillingPeriod(_at(start), _at(end), interval)


def test_a_trace_from_the_future_is_refused() -> None:
    with pytest.raises(TraceError, match="future"):
        choose_period(_at("2026-05-21"), _at("2026-05-22"), NOW)
