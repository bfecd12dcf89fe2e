"""Reads the trace: one row a request, in the columns TIMESTAMP, ContextTokens, GeneratedTokens."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

__all__ = ["BUNDLED_TRACE", "BillingPeriod", "TraceError", "choose_period", "load_trace"]

BUNDLED_TRACE = Path(__file__).parent / "data" / "azure_llm_conv.csv.gz"
_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


class TraceError(Exception):
    """The file cannot be billed; the message names the column or row."""


@dataclass(frozen=True)
class BillingPeriod:
    """The one period that the demo bills: [start, end), and the interval that leads from one to the other."""

    start: datetime
    end: datetime
    interval: str


def load_trace(path: Path) -> pl.DataFrame:
    """Read a CSV (also gzipped) into the columns row, at (UTC, microseconds), prompt_tokens, completion_tokens.

    The columns may come in any order; others are left aside. Raises TraceError.
    """
    try:
        raw = pl.read_csv(path, infer_schema=False)
    except FileNotFoundError as error:
        raise TraceError(f"{path}: no such file") from error
    except (OSError, pl.exceptions.PolarsError) as error:
        raise TraceError(f"{path}: not a CSV file ({str(error).splitlines()[0]})") from error
    missing = [name for name in _COLUMNS if name not in raw.columns]
    if missing:
        raise TraceError(f"{path}: column {missing[0]} is missing; the columns are {', '.join(_COLUMNS)}")
    if raw.is_empty():
        raise TraceError(f"{path}: holds no rows")
    # The trace has seven decimals of a second, the clock of an event six.
    moment = pl.col("TIMESTAMP").str.strip_chars().str.replace("T", " ").str.replace(r"(Z|\+00:?00)$", "")
    trace = raw.select(
        pl.int_range(pl.len()).alias("row"),
        moment.str.replace(r"(\.\d{6})\d+$", "$1")
        .str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
        .dt.replace_time_zone("UTC")
        .alias("at"),
        pl.col("ContextTokens").str.strip_chars().cast(pl.Int64, strict=False).alias("prompt_tokens"),
        pl.col("GeneratedTokens").str.strip_chars().cast(pl.Int64, strict=False).alias("completion_tokens"),
    )
    bad = trace.filter(pl.any_horizontal(pl.all().is_null()))
    if not bad.is_empty():
        row = bad["row"][0]
        raise TraceError(f"{path}: row {row} cannot be read: {raw.row(row)}")
    return trace


def choose_period(first: datetime, last: datetime, now: datetime) -> BillingPeriod:
    """The shortest usual period, from the first of a month, that holds the trace and is over.

    A trace that reaches into the running month is billed by days, up to the minute after its last row.
    """
    start = first.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for months, interval in ((1, "P1M"), (3, "P3M"), (12, "P1Y"), (24, "P2Y"), (60, "P5Y")):
        end = _add_months(start, months)
        if last < end <= now:
            return BillingPeriod(start, end, interval)
    end = last.replace(second=0, microsecond=0) + timedelta(minutes=1)
    if end > now:
        end = last + timedelta(microseconds=1)
    if end > now:
        raise TraceError("the last row lies in the future: usage is billed when it has happened")
    days = (end - first) // timedelta(days=1) + 1
    return BillingPeriod(end - timedelta(days=days), end, f"P{days}D")


def _add_months(start: datetime, months: int) -> datetime:
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)
