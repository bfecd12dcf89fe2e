"""Each aggregation on the real engine: the vectors of other systems, empty windows, exactness, filters, groups."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from billing.errors import InvalidInput, TooLarge
from billing.scope import Scope
from ingestion.decode import decode_events
from ingestion.event import Limits
from ingestion.writer import EventWriter
from tests.integration.metering.senders import a_meter, an_event, at, send, usage, values
from warehouse_sql.client import Warehouse
from warehouse_sql.readings import readings_of
from warehouse_sql.unusable import list_unusable
from warehouse_sql.usage import UsageQuery, read_quantities, read_usage

ALL = ("count", "sum", "max", "min", "avg", "latest", "count_unique", "weighted_sum")


def test_U2_nothing_is_zero_or_null_by_aggregation_and_a_named_customer_keeps_its_row(
    metering: Warehouse, scope: Scope
) -> None:
    found = {kind: values(usage(metering, scope, a_meter(kind), customers=("nobody",))) for kind in ALL}
    assert found == {
        "count": ["0"],
        "sum": ["0"],
        "max": [None],
        "min": [None],
        "avg": [None],
        "latest": [None],
        "count_unique": ["0"],
        "weighted_sum": ["0"],
    }
    assert usage(metering, scope, a_meter("count"), customers=None) == ()
    assert usage(metering, scope, a_meter("count"), customers=()) == ()


def test_each_aggregation_of_one_customers_day(metering: Warehouse, scope: Scope) -> None:
    send(
        metering,
        scope,
        an_event("a", "2026-01-05 10:00", n="4", user="u1"),
        an_event("b", "2026-01-05 12:00", n="-1.5", user="u2"),
        an_event("c", "2026-01-05 11:00", n="10", user="u1"),
        an_event("d", "2026-01-05 11:30", n="none", user=None),
    )
    found = {kind: values(usage(metering, scope, a_meter(kind)))[0] for kind in ALL if kind != "weighted_sum"}
    assert found == {
        "count": "4",
        "sum": "12.5",
        "max": "10",
        "min": "-1.5",
        "avg": "4.166666666666666666666667",
        "latest": "-1.5",
        "count_unique": "4",
    }
    assert values(usage(metering, scope, a_meter("count_unique", "user"))) == ["2"]


def test_E6_sums_keep_thirty_digits_and_every_decimal(metering: Warehouse, scope: Scope) -> None:
    big = "123456789012345678901234567890.123456789012345678901234"
    texts = (big, big, "0.000000000000000000000001", "1e-24", "-5E+3")
    send(metering, scope, *[an_event(f"e{i}", n=text) for i, text in enumerate(texts)])
    assert values(usage(metering, scope, a_meter("sum"))) == ["246913578024691357802469130780.24691357802469135780247"]
    widest = "9" * 38 + "." + "9" * 24
    send(metering, scope, *[an_event(f"w{i}", customer_id="wide", n=widest) for i in range(20)])
    (summed,) = values(usage(metering, scope, a_meter("sum"), customers=("wide",)))
    assert summed == "1" + "9" * 39 + "." + "9" * 22 + "8"


def test_E6_a_text_is_a_number_exactly_where_it_is_written_as_one(metering: Warehouse) -> None:
    # All texts of up to three of these characters, and such as touch the bounds: 24 decimals, 38 digits.
    texts = ["".join(one) for length in range(4) for one in product("05+-.eE \n\0xn", repeat=length)]
    texts += ["9" * 24, "9" * 25, "9" * 38, "9" * 39, "1." + "0" * 40, f"{'0' * 30}7", f"+{'9' * 38}.5", f"-{'9' * 39}"]
    texts += ["0." + "1" * 24, "0." + "1" * 25, "1.5e-23", "1.5e-24", "15e-24", "1e37", "1e38", "1.2.3", "1.2.3e1"]
    texts += [
        "12345678901234567890123.",
        "123456789012345678901.5e",
        "1,5",
        "nan",
        "\u0661",
        "0x10",
        "1e5\n",
        "5\n",
        "inf",
    ]
    rows = readings_of(metering, ["n"], [[text] for text in texts], [a_meter()])
    found = {text: row["number"] for text, row in zip(texts, rows, strict=True)}
    assert {text: None if number is None else Decimal(number) for text, number in found.items()} == {
        text: written_as_number(text) for text in texts
    }


def written_as_number(text: str) -> Decimal | None:
    """Perhaps with an exponent of up to three digits; at most 24 decimals, and 38 digits before the point."""
    form = re.fullmatch(r"[+-]?(?:[0-9]+\.?([0-9]*)|\.([0-9]+))(?:[eE]([+-]?[0-9]{1,3}))?", text, re.ASCII)
    if form is None:
        return None
    decimals = len((form[1] or form[2] or "").rstrip("0")) - int(form[3] or 0)
    number = Decimal(text)
    return number if decimals <= 24 and number.copy_abs() < Decimal("1e38") else None


def test_U3_an_unusable_value_never_counts_and_is_listed_with_its_reason(metering: Warehouse, scope: Scope) -> None:
    bad: dict[str, str | None] = {
        "missing": None,
        "word": "ten",
        "blank": " 1",
        "empty": "",
        "minus": "-",
        "point": ".",
        "hex": "0x10",
        "nan": "NaN",
        "fine": "1." + "0" * 24 + "1",
        "large": "1" + "0" * 38,
        "exponent": "1e400",
        "truth": "true",
        "list": "[1]",
    }
    send(metering, scope, an_event("good", n="7"), *[an_event(name, n=text) for name, text in bad.items()])
    send(metering, scope, an_event("absent"))
    for kind, expected in (("sum", "7"), ("max", "7"), ("min", "7"), ("avg", "7"), ("latest", "7")):
        (row,) = usage(metering, scope, a_meter(kind))
        assert (values([row]), row.events, row.unusable) == ([expected], 1, 14)
    assert values(usage(metering, scope, a_meter("count"))) == ["15"]
    listed = list_unusable(metering, scope, a_meter("sum"), at("2026-01-01"), at("2026-02-01")).items
    assert {event.event_id: event.reason for event in listed} == {
        **dict.fromkeys(bad, "not_a_number"),
        "missing": "missing",
        "absent": "missing",
        "fine": "too_many_decimals",
        "large": "too_large",
        "exponent": "too_large",
    }
    unique = list_unusable(metering, scope, a_meter("count_unique"), at("2026-01-01"), at("2026-02-01")).items
    assert {event.event_id for event in unique} == {"missing", "absent"}


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [
        ("eq", "a", "1"),
        ("ne", "a", "30"),
        ("in", ("a", "it's \\ \n{x:String}"), "3"),
        ("not_in", ("a", "b"), "26"),
        ("exists", None, "7"),
        ("not_exists", None, "24"),
    ],
)
def test_filters_on_texts_take_any_text_as_it_is(
    metering: Warehouse, scope: Scope, op: str, value: Any, expected: str
) -> None:
    send(
        metering,
        scope,
        an_event("1", n="1", kind="a"),
        an_event("2", n="2", kind="it's \\ \n{x:String}"),
        an_event("4", n="4", kind="b"),
        an_event("8", n="8"),
        an_event("16", n="16", kind=None),
    )
    assert values(usage(metering, scope, a_meter("sum", filters=[("kind", op, value)]))) == [expected]


@pytest.mark.parametrize(("op", "expected"), [("gt", "2"), ("gte", "3"), ("lt", "12"), ("lte", "13")])
def test_filters_on_numbers_compare_values_and_leave_out_what_is_no_number(
    metering: Warehouse, scope: Scope, op: str, expected: str
) -> None:
    sizes = {"1": "10.0", "2": "10.000000000000000000000001", "4": "9", "8": "-1e3", "16": "ten"}
    send(metering, scope, *[an_event(n, n=n, size=size) for n, size in sizes.items()], an_event("x", n="32"))
    assert values(usage(metering, scope, a_meter("sum", filters=[("size", op, Decimal(10))]))) == [expected]


def test_groups_hold_the_texts_and_an_absent_property_is_the_empty_one(metering: Warehouse, scope: Scope) -> None:
    send(
        metering,
        scope,
        an_event("1", n="1", model="gpt-4", region="eu"),
        an_event("2", n="2", model="gpt-4", region="us"),
        an_event("4", n="4", model="o'3", region="us"),
        an_event("8", n="8", region="us"),
    )
    meter = a_meter("sum", group_by=("model", "region"))
    by_model = usage(metering, scope, meter, group_by=("model",))
    assert {row.group["model"]: values([row])[0] for row in by_model} == {"gpt-4": "3", "o'3": "4", "": "8"}
    other = usage(metering, scope, meter, group_by=("n", "region"), customers=None)
    assert {(row.group["n"], row.group["region"]) for row in other} == {
        ("1", "eu"),
        ("2", "us"),
        ("4", "us"),
        ("8", "us"),
    }
    (empty,) = usage(metering, scope, meter, group_by=("model",), customers=("nobody",))
    assert (empty.group, empty.value, empty.events) == ({"model": ""}, Decimal(0), 0)


def test_nested_values_are_metered_by_their_path(metering: Warehouse, scope: Scope) -> None:
    body = b"""[{"event_name": "api.request", "customer_id": "acme", "timestamp": "2026-01-05T00:00:00Z",
        "properties": {"usage": {"tokens": 123456789012345678.123456789012, "kind": "in"}}}]"""
    EventWriter(metering).write(scope, decode_events(body, Limits(), at("2026-06-01")).events)
    meter = a_meter("sum", "usage.tokens", filters=[("usage.kind", "eq", "in")])
    assert values(usage(metering, scope, meter)) == ["123456789012345678.123456789012"]


def test_latest_is_by_the_events_own_time_then_by_arrival(metering: Warehouse, scope: Scope) -> None:
    send(metering, scope, an_event("a", "2026-01-05 10:00", n="1"))
    send(metering, scope, an_event("b", "2026-01-05 10:00", n="2"))
    send(metering, scope, an_event("c", "2026-01-05 09:59:59.999999", n="3"))
    assert values(usage(metering, scope, a_meter("latest"))) == ["2"]


def test_weighted_sum_is_level_times_hours_with_the_last_level_carried_in(metering: Warehouse, scope: Scope) -> None:
    send(
        metering,
        scope,
        an_event("long ago", "2024-03-01", n="1000"),
        an_event("before", "2025-12-31 23:00", n="2"),
        an_event("up", "2026-01-01 06:00", n="5.5"),
        an_event("unreadable", "2026-01-01 07:00", n="many"),
        an_event("down", "2026-01-01 18:30", n="0"),
        an_event("back", "2026-01-02 12:00", n="1"),
    )
    meter = a_meter("weighted_sum")
    by_day = usage(metering, scope, meter, "2026-01-01", "2026-01-04", window="day")
    # 6 h x 2 + 12.5 h x 5.5 = 80.75; 12 h x 1; 24 h x 1
    assert values(by_day) == ["80.75", "12", "24"]
    assert [(row.events, row.unusable) for row in by_day] == [(2, 1), (1, 0), (0, 0)]
    assert values(usage(metering, scope, meter, "2026-01-01", "2026-01-04")) == ["116.75"]
    assert values(usage(metering, scope, meter, "2023-01-01", "2024-01-01")) == ["0"]
    # A third of an hour at level 1 is rounded once, at 24 decimals.
    assert values(usage(metering, scope, meter, "2026-01-03", "2026-01-03 00:20")) == ["0.333333333333333333333333"]


def test_a_level_holds_until_now_and_not_into_the_future(metering: Warehouse, scope: Scope) -> None:
    meter = a_meter("weighted_sum")
    query = UsageQuery(scope, meter, at("2026-01-01"), at("2099-01-01"), ("acme",))
    with pytest.raises(TooLarge):
        read_usage(metering, query)
    send(metering, scope, an_event("a", "2026-01-01", n="1"))
    answer = read_usage(metering, UsageQuery(scope, meter, at("2026-01-01"), at("2035-01-01"), ("acme",)))
    held = (answer.as_of - at("2026-01-01")) / timedelta(hours=1)
    assert answer.rows[0].value is not None
    assert abs(float(answer.rows[0].value) - held) < 1e-6


def test_quantities_answer_for_many_customers_at_once(metering: Warehouse, scope: Scope) -> None:
    send(metering, scope, *[an_event(f"e{i}", customer_id=f"c{i}", n=str(i)) for i in range(1200)])
    named = [f"c{i}" for i in range(1200)] + ["nobody"]
    found = read_quantities(metering, scope, a_meter("sum"), at("2026-01-01"), at("2026-02-01"), named)
    assert list(found) == named
    assert [found[name].value for name in ("c0", "c1199", "nobody")] == [Decimal(0), Decimal(1199), Decimal(0)]
    assert len({quantity.quantity_hash for quantity in found.values()}) == 1201
    everyone = read_quantities(metering, scope, a_meter("sum"), at("2026-01-01"), at("2026-02-01"), None)
    assert len(everyone) == 1200


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"start": "2026-02-01"}, "empty_period"),
        ({"end": "2045-01-01"}, "period_too_long"),
        ({"window": "minute"}, "too_many_windows"),
        ({"window": "year"}, "unknown_value"),
        ({"timezone": "Mars/Olympus"}, "unknown_timezone"),
        ({"timezone": "../../etc/passwd"}, "unknown_timezone"),
        ({"group_by": tuple("abcdefghijk")}, "too_many_items"),
        ({"window": "hour", "customers": tuple(map(str, range(300)))}, "too_many_rows"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_query_out_of_bounds_is_refused_and_says_why(
    metering: Warehouse, scope: Scope, change: dict[str, Any], code: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        usage(metering, scope, a_meter(), **change)
    assert refused.value.code == code


def test_tenants_and_environments_never_see_each_other(metering: Warehouse, scope: Scope) -> None:
    beside = Scope(scope.tenant_id, "env_other")
    send(metering, scope, an_event("same", n="1"))
    send(metering, beside, an_event("same", n="2"))
    assert values(usage(metering, scope, a_meter(), customers=None)) == ["1"]
    assert values(usage(metering, beside, a_meter(), customers=None)) == ["2"]
