"""Usage answers leave without another check of their rows, and are still what the document says, to the byte."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from api.schemas.usage import MeterUsageOut, UsageOfMetersOut, UsageOut, usage_json, usage_of_meters_json
from billing.errors import NotFound, TallyError
from warehouse_sql.usage import UsageAnswer, UsageRow

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


@settings(max_examples=50, deadline=None)
@given(answer=answers, detail=texts, field=st.none() | texts)
def test_answers_about_several_meters_are_written_as_their_model_would_be(
    answer: UsageAnswer, detail: str, field: str | None
) -> None:
    error: TallyError = NotFound("meter_not_found", detail, field=field, hint=None)
    told = [MeterUsageOut.of("meter_a", (answer, {})), MeterUsageOut.of("meter_b", error)]
    written = usage_of_meters_json(["meter_a", "meter_b"], [(answer, {}), error])
    assert written == UsageOfMetersOut(results=told).model_dump_json().encode()
