"""Days of a customer add up to windows as the engine adds them up."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from billing.meter import Aggregation, AggregationType, Meter
from warehouse_sql.customer_days import add_days_up, can_add_days_up
from warehouse_sql.instants import to_micros
from warehouse_sql.known_days import CountedDay

STARTS = [datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 7, tzinfo=UTC)]
END = datetime(2026, 1, 9, tzinfo=UTC)


def a_meter(kind: AggregationType) -> Meter:
    named = None if kind is AggregationType.COUNT else "n"
    return Meter("meter_a", 1, "A", "a", Aggregation(kind, named), group_by=("model", "region"))


def a_day(day: int, number: str, groups: tuple[str, str] = ("m", "eu"), usable: int = 2, print_: int = 1) -> CountedDay:
    return CountedDay("acme", date(2026, 1, day), 7, groups, usable + 1, usable, Decimal(number), print_)


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        (AggregationType.SUM, "3.75", "1"),
        (AggregationType.MIN, "1.25", "1"),
        (AggregationType.MAX, "2.5", "1"),
        (AggregationType.LATEST, "2.5", "1"),
    ],
)
def test_U1_days_are_added_up_by_window_and_those_without_a_value_say_nothing(
    kind: AggregationType, first: str, second: str
) -> None:
    days = [a_day(6, "2.500"), a_day(5, "1.25"), a_day(8, "0", usable=0), a_day(7, "1")]
    columns = add_days_up(days, a_meter(kind), STARTS, ("model", "region"))
    assert columns["window_us"] == [to_micros(at) for at in STARTS]
    assert columns["number"] == [first, second]
    assert (columns["matched"], columns["usable"]) == ([6, 4], [4, 2])


def test_U1_groups_that_are_not_asked_for_are_added_up_and_the_others_told_apart() -> None:
    days = [a_day(5, "1", ("m", "eu")), a_day(5, "2", ("m", "us")), a_day(6, "4", ("a", "us"))]
    columns = add_days_up(days, a_meter(AggregationType.SUM), STARTS[:1], ("model",))
    assert (columns["groups"], columns["number"]) == ([("a",), ("m",)], ["4", "3"])


def test_a_fingerprint_is_added_up_in_128_bits_as_the_engine_does() -> None:
    days = [a_day(5, "1", print_=2**128 - 1), a_day(6, "1", print_=5)]
    assert add_days_up(days, a_meter(AggregationType.SUM), STARTS, ())["fingerprint"] == [4]


@pytest.mark.parametrize(
    ("kind", "end", "customers", "group_by", "can"),
    [
        (AggregationType.SUM, END, ("acme",), (), True),
        (AggregationType.COUNT_UNIQUE, END, ("acme",), (), False),
        (AggregationType.LATEST, END, ("acme",), ("model",), False),
        (AggregationType.LATEST, END, ("acme",), ("region", "model"), True),
        (AggregationType.SUM, END.replace(hour=1), ("acme",), (), False),
        (AggregationType.SUM, END, None, (), False),
        (AggregationType.SUM, END, tuple(map(str, range(21))), (), False),
    ],
)
def test_U1_only_what_days_tell_exactly_is_added_up_here(
    kind: AggregationType, end: datetime, customers: tuple[str, ...] | None, group_by: tuple[str, ...], can: bool
) -> None:
    assert can_add_days_up(a_meter(kind), STARTS, end, customers, group_by) is can
