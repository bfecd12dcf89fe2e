"""Bytes to events: each index is an event or a reason, and numbers keep their digits."""

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import InvalidInput, TallyError, TooLarge
from ingestion.decode import decode_event, decode_events
from ingestion.event import Limits

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits(events=50, properties=20, property_bytes=200, depth=3)
GOOD: dict[str, Any] = {"event_name": "api.request", "customer_id": "acme", "event_id": "e1"}


def _batch(*events: Any) -> bytes:
    return json.dumps({"events": events}).encode()


def test_the_guides_event_is_read_as_it_stands() -> None:
    event = decode_event(
        b"""{"event_id": "evt_1234567890abcdef", "event_name": "api.request", "customer_id": "acme_corp_001",
        "timestamp": "2024-01-21T14:30:00Z", "properties": {"endpoint": "/api/v1/users", "method": "GET"},
        "idempotency_key": "unique_key_12345"}""",
        LIMITS,
        NOW,
    )
    assert event.identity == "unique_key_12345"
    assert event.timestamp == datetime(2024, 1, 21, 14, 30, tzinfo=UTC)
    assert event.properties == {"endpoint": "/api/v1/users", "method": "GET"}


def test_E6_a_number_keeps_the_text_that_was_sent() -> None:
    sent = b'{"tokens":123456789012345678.123456789012,"e":1E-7}'
    body = b'{"events":[{"event_name":"a","customer_id":"c","properties":%s}]}' % sent
    properties = decode_events(body, LIMITS, NOW).events[0].texts()
    assert properties == {"tokens": "123456789012345678.123456789012", "e": "1E-7"}


def test_properties_are_texts_and_nested_values_have_dotted_paths() -> None:
    sent = {"s": 'é"', "n": None, "t": True, "l": [1, 2], "o": {"a": {"b": 5}, "empty": {}}, "o.a.b": "as written"}
    event = decode_events(_batch({**GOOD, "properties": sent}), LIMITS, NOW).events[0]
    assert event.properties == {
        "s": 'é"', "n": None, "t": "true", "l": "[1, 2]", "o.a.b": "as written",
        "o": '{"a": {"b": 5}, "empty": {}}',
    }  # fmt: skip


def test_E4_a_bad_event_is_refused_by_its_index_and_the_good_ones_are_kept() -> None:
    decoded = decode_events(_batch(GOOD, {"event_name": "x"}, GOOD, "no event"), LIMITS, NOW)
    assert [refused.index for refused in decoded.refused] == [1, 3]
    assert len(decoded.events) == 2


def test_without_a_timestamp_the_moment_of_arrival_is_taken_and_without_an_id_one_is_made() -> None:
    event = decode_event(b'{"event_name":"a","customer_id":"c"}', LIMITS, NOW)
    assert (event.timestamp, event.timed) == (NOW, False)
    assert event.event_id.startswith("evt_")
    assert event.identity == event.event_id


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"customer_id": None}, "wrong_type", "customer_id"),
        ({"customer_id": ""}, "empty", "customer_id"),
        ({"event_name": "x" * 257}, "too_long", "event_name"),
        ({"event_id": "a\u0007b"}, "not_printable", "event_id"),
        ({"idempotency_key": 7}, "wrong_type", "idempotency_key"),
        ({"timestamp": "2024-01-21T14:30:00"}, "timestamp_not_rfc3339", "timestamp"),
        ({"timestamp": "2024-02-30T00:00:00Z"}, "timestamp_not_rfc3339", "timestamp"),
        ({"timestamp": 1705847400}, "wrong_type", "timestamp"),
        ({"timestamp": "2026-01-01T01:00:01Z"}, "timestamp_in_the_future", "timestamp"),
        ({"timestamp": "1969-12-31T23:59:59Z"}, "timestamp_out_of_range", "timestamp"),
        ({"props": {}}, "unknown_field", "props"),
        ({"properties": [1]}, "wrong_type", "properties"),
        ({"properties": {"a": "x" * 300}}, "property_too_large", "properties.a"),
        ({"properties": {"": 1}}, "property_key_length", "properties"),
        ({"properties": {str(n): n for n in range(21)}}, "too_many_properties", "properties"),
        ({"properties": {"a": {"b": {"c": {"d": 1}}}}}, "properties_too_deep", "properties.a.b.c"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else None,
)
def test_a_refusal_names_its_code_and_field(change: dict[str, Any], code: str, field: str) -> None:
    (refused,) = decode_events(_batch({**GOOD, **change}), LIMITS, NOW).refused
    assert (refused.code, refused.field) == (code, field)


def test_bytes_that_are_no_text_refuse_their_event_only() -> None:
    body = b'[{"event_name":"a","customer_id":"c","properties":{"x":"\xff"}}, {"event_name":"a","customer_id":"c"}]'
    decoded = decode_events(body, LIMITS, NOW)
    assert [(r.index, r.code) for r in decoded.refused] == [(0, "not_utf8")]
    assert len(decoded.events) == 1


@pytest.mark.parametrize("wrapped", [True, False], ids=["in an object", "bare"])
def test_E4_half_a_surrogate_pair_refuses_its_event_only(wrapped: bool) -> None:
    number = b"1" * 30 + b".10"
    items = rb'[{"event_name":"\ud800","customer_id":"c"} , {"event_name":"a","customer_id":"c","properties":{"n":%s}}]'
    body = b'{ "events": %s }' % (items % number) if wrapped else items % number
    decoded = decode_events(body, LIMITS, NOW)
    assert [(r.index, r.code) for r in decoded.refused] == [(0, "not_utf8")]
    assert [event.properties for event in decoded.events] == [{"n": number.decode()}]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "body_not_json"),
        (rb'[{"event_name":"\ud800","customer_id":"c"}', "body_not_json"),
        (rb'[{"event_name":"\ud800","customer_id":"c"}]}', "body_not_json"),
        (b"{", "body_not_json"),
        (b'{"events": []}', "batch_empty"),
        (b"[]", "batch_empty"),
        (b'{"events": 5}', "body_not_a_batch"),
        (b'"text"', "body_not_a_batch"),
        (b'{"events": [], "more": 1}', "unknown_field"),
        (b'{"event": []}', "unknown_field"),
        (b'{"events": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}", "body_too_deep"),
    ],
    ids=[
        "empty",
        "half a surrogate, cut off",
        "half a surrogate, closed twice",
        "cut off",
        "no events",
        "no events, bare",
        "no list",
        "no object",
        "more",
        "misspelt",
        "too deep",
    ],
)
def test_a_body_that_is_no_batch_is_refused_as_a_whole(body: bytes, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        decode_events(body, LIMITS, NOW)
    assert refused.value.code == code


def test_more_events_than_the_bound_are_refused_as_a_whole() -> None:
    with pytest.raises(TooLarge, match="51 events"):
        decode_events(_batch(*[GOOD] * 51), LIMITS, NOW)


def test_digits_past_the_microsecond_are_cut_so_that_an_event_stays_in_its_period() -> None:
    body = _batch({**GOOD, "timestamp": "2025-12-31T23:59:59.9999999+00:00"})
    assert decode_events(body, LIMITS, NOW).events[0].timestamp == NOW - timedelta(microseconds=1)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_event = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("event_name", "customer_id", "event_id", "timestamp", "properties", "zip"), _json)
)


@given(st.lists(_event | _json, min_size=1, max_size=8))
def test_E4_every_index_is_an_event_or_a_refusal(events: list[Any]) -> None:
    decoded = decode_events(json.dumps(events).encode(), LIMITS, NOW)
    assert len(decoded.events) + len(decoded.refused) == len(events)
    assert len({refused.index for refused in decoded.refused}) == len(decoded.refused)


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda b: b'{"events":[{"event_name":"a' + b + b'"}]}'))
def test_no_body_leads_to_anything_but_events_or_a_stated_error(body: bytes) -> None:
    for read in (decode_events, decode_event):
        # Any other error fails the test.
        with contextlib.suppress(TallyError):
            read(body, LIMITS, NOW)
