"""Usage answers leave without another check of their rows, and are still what the document says, to the byte."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from api.schemas.usage import MeterUsageOut, UsageOfMetersOut, UsageOut, usage_json, usage_of_meters_json
from billing.errors import NotFound, TallyError
from billing.exact import canonical
from billing.meter import Aggregation, AggregationType, Meter
from billing.scope import Scope
from warehouse_sql.aggregates import Parts
from warehouse_sql.instants import to_micros
from warehouse_sql.usage import UsageAnswer, UsageQuery, UsageRow
from warehouse_sql.usage_query import UsageRows

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
instants = st.datetimes(datetime(1970, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 -- bounds
counts = st.integers(0, 2**63)
rows = st.builds(
    UsageRow,
    texts,
    instants,
    instants,
    st.dictionaries(texts, texts, max_size=3),
    st.none() | st.decimals("-1e50", "1e50", allow_nan=False, places=24) | st.decimals("-1e9", "1e9", allow_nan=False),
    counts,
    counts,
)
answers = st.builds(
    lambda rows, as_of, days, cursor: UsageAnswer(rows, as_of, days, days + 1, {"2026-01-01": 7}, cursor),
    st.lists(rows, max_size=5),
    instants,
    st.integers(0, 3660),
    st.none() | texts,
)


@settings(max_examples=200, deadline=None)
@given(answer=answers, renamed=st.booleans())
def test_an_answer_is_written_as_its_model_would_be(answer: UsageAnswer, renamed: bool) -> None:
    asked_as = {row.customer_id: f"cus_{row.customer_id}" for row in answer.rows} if renamed else {}
    assert bytes(usage_json(answer, asked_as)) == UsageOut.of(answer, asked_as).model_dump_json().encode()


# As the engine sends them: texts of numbers without spare zeros.
numbers = st.decimals("-1e30", "1e30", allow_nan=False, places=6).map(lambda number: Decimal(canonical(number)))
aggregates = st.lists(
    st.tuples(texts, st.integers(0, 2), st.tuples(texts, texts), st.integers(0, 9), st.integers(0, 9), numbers),
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(aggregates=aggregates, kind=st.sampled_from(list(AggregationType)), grouped=st.booleans(), renamed=st.booleans())
def test_an_answer_by_column_is_written_as_its_rows_would_be(
    aggregates: list[tuple[str, int, tuple[str, str], int, int, Decimal]],
    kind: AggregationType,
    grouped: bool,
    renamed: bool,
) -> None:
    starts = [datetime(2026, 1, 1 + day, tzinfo=UTC) for day in range(3)]
    meter = Meter("meter_a", 1, "A", "a", Aggregation(kind, None if kind is AggregationType.COUNT else "n"))
    names = ('m"o\\del', "region") if grouped else ()
    query = UsageQuery(Scope("t", "e"), meter, starts[0], datetime(2026, 1, 4, tzinfo=UTC), None, "day", group_by=names)
    columns = {
        "customer_id": pa.array([one[0] for one in aggregates], pa.string()),
        "window_us": pa.array([to_micros(starts[one[1]]) for one in aggregates], pa.int64()),
        "groups": pa.array([one[2] if grouped else () for one in aggregates], pa.list_(pa.string())),
        "matched": pa.array([one[3] + one[4] for one in aggregates], pa.uint64()),
        "usable": pa.array([one[3] for one in aggregates], pa.uint64()),
        "number": pa.array([format(one[5], "f") for one in aggregates], pa.string()),
        "fingerprint": pa.array(["0"] * len(aggregates), pa.string()),
    }
    found = UsageRows(Parts(meter, table=pa.table(columns)), query, starts)
    answer = UsageAnswer(found, query.end, 3, 0)
    asked_as = {one[0]: f"cus_{one[0]}" for one in aggregates} if renamed else {}
    assert bytes(usage_json(answer, asked_as)) == UsageOut.of(answer, asked_as).model_dump_json().encode()


@settings(max_examples=50, deadline=None)
@given(answer=answers, detail=texts, field=st.none() | texts)
def test_answers_about_several_meters_are_written_as_their_model_would_be(
    answer: UsageAnswer, detail: str, field: str | None
) -> None:
    error: TallyError = NotFound("meter_not_found", detail, field=field, hint=None)
    told = [MeterUsageOut.of("meter_a", (answer, {})), MeterUsageOut.of("meter_b", error)]
    written = usage_of_meters_json(["meter_a", "meter_b"], [(answer, {}), error])
    assert written == UsageOfMetersOut(results=told).model_dump_json().encode()
