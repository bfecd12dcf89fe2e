"""U2: windows are local, half open, and whole days of any zone come out right from rollups and events alike."""

from __future__ import annotations

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest

from billing.scope import Scope
from tests.integration.metering.senders import a_meter, an_event, at, send, usage, values
from warehouse_sql.client import Warehouse
from warehouse_sql.rollups import build_days
from warehouse_sql.usage import UsageQuery, read_usage
from warehouse_sql.windows import window_starts

PARIS, KOLKATA, LORD_HOWE = "Europe/Paris", "Asia/Kolkata", "Australia/Lord_Howe"
NOW = at("2026-11-23")


@pytest.mark.parametrize(
    ("zone", "start", "end", "window", "hours"),
    [
        (PARIS, "2026-03-28", "2026-03-31", "day", [24, 23, 24]),
        (PARIS, "2026-10-24", "2026-10-27", "day", [24, 25, 24]),
        (KOLKATA, "2026-01-01", "2026-01-04", "day", [24, 24, 24]),
        (LORD_HOWE, "2026-04-04", "2026-04-06", "day", [24, 24.5]),
        (LORD_HOWE, "2026-10-04", "2026-10-05", "day", [23.5]),
        ("Africa/Cairo", "2026-04-23", "2026-04-26", "day", [24, 23, 24]),
        (PARIS, "2026-03-01", "2026-05-01", "month", [31 * 24 - 1, 30 * 24]),
        (PARIS, "2026-03-25 12:00", "2026-04-01", "week", [4.5 * 24 - 1, 2 * 24]),
        (PARIS, "2026-10-25", "2026-10-25 05:00", "hour", [1] * 6),
        (LORD_HOWE, "2026-04-05", "2026-04-05 04:00", "hour", [1, 1, 0.5, 1, 1]),
        (KOLKATA, "2026-01-01 10:10", "2026-01-01 12:00", "hour", [5 / 6, 1]),
        ("UTC", "2026-01-01 10:10:30", "2026-01-01 10:12:30", "minute", [1 / 120, 1 / 60, 1 / 120]),
    ],
)
def test_windows_follow_the_local_clock(zone: str, start: str, end: str, window: str, hours: list[float]) -> None:
    first, last = (at(text).replace(tzinfo=ZoneInfo(zone)) for text in (start, end))
    starts = window_starts(first, last, window, zone)  # type: ignore[arg-type]
    ends = [*starts[1:], last]
    lengths = [until.astimezone(ZoneInfo("UTC")) - since for since, until in zip(starts, ends, strict=True)]
    assert lengths == [timedelta(hours=length) for length in hours]


@pytest.mark.parametrize("zone", [PARIS, KOLKATA, LORD_HOWE])
def test_U2_an_event_is_in_the_local_day_that_holds_it_and_edges_are_half_open(
    metering: Warehouse, scope: Scope, zone: str
) -> None:
    local = ZoneInfo(zone)
    days = [at(f"2026-10-0{day}").replace(tzinfo=local) for day in (3, 4, 5, 6)]
    tick = timedelta(microseconds=1)
    send(
        metering,
        scope,
        *[an_event(f"first{i}", start, n="1") for i, start in enumerate(days)],
        *[an_event(f"last{i}", start - tick, n="100") for i, start in enumerate(days)],
    )
    build_days(metering, [date(2026, 10, day) for day in range(1, 8)], [(scope, a_meter())], NOW)
    query = UsageQuery(scope, a_meter(), days[0], days[-1], ("acme",), "day", zone)
    auto, raw = read_usage(metering, query), read_usage(metering, query, "raw")
    assert auto.rows == raw.rows
    assert values(auto.rows) == ["101", "101", "101"]
    assert [row.start for row in auto.rows] == days[:-1]
    assert auto.rollup_days >= 3
    assert raw.rollup_days == 0


def test_named_customers_get_every_window_and_others_only_those_with_usage(metering: Warehouse, scope: Scope) -> None:
    send(metering, scope, an_event("a", "2026-01-02 12:00", n="5"))
    period = {"start": "2026-01-01", "end": "2026-01-04", "window": "day"}
    named = usage(metering, scope, a_meter("max"), customers=("acme", "beta"), **period)  # type: ignore[arg-type]
    assert values(named) == [None, "5", None, None, None, None]
    everyone = usage(metering, scope, a_meter("max"), customers=None, **period)  # type: ignore[arg-type]
    assert [(row.customer_id, row.start) for row in everyone] == [("acme", at("2026-01-02"))]
