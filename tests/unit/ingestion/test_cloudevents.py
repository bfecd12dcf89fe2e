"""CloudEvents become events, and what cannot become one is refused in the CloudEvent's own words."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from billing.errors import InvalidInput
from ingestion.decode import decode_event, decode_events
from ingestion.event import Limits
from ingestion.media import Form

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits(depth=2)
SENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "A234-1234-1234",
    "source": "/gateway/eu-1",
    "type": "api.request",
    "subject": "acme",
    "time": "2024-01-21T14:30:00.5+02:00",
    "datacontenttype": "application/json",
    "traceparent": "00-1-2-01",
    "data": {"tokens": 12, "o": {"a": "b"}},
}


def _one(sent: dict[str, Any]) -> Any:
    return decode_event(json.dumps(sent).encode(), LIMITS, NOW, Form.CLOUDEVENT)


def test_each_attribute_has_its_place_in_the_event() -> None:
    event = _one(SENT)
    assert (event.event_name, event.customer_id, event.event_id) == ("api.request", "acme", "A234-1234-1234")
    assert event.timestamp == datetime(2024, 1, 21, 12, 30, 0, 500_000, UTC)
    assert event.properties == {"tokens": "12", "o": '{"a": "b"}', "o.a": "b"}


def test_E3_source_and_id_together_are_the_identity() -> None:
    identities = {_one({**SENT, "source": source, "id": name}).identity for source in ("/a", "/b") for name in "12"}
    assert identities == {"/a 1", "/a 2", "/b 1", "/b 2"}
    assert _one({**SENT, "source": "a", "id": "b c"}).identity == "a b c"
    with pytest.raises(InvalidInput, match="without spaces"):
        _one({**SENT, "source": "a b", "id": "c"})


def test_E6_a_number_keeps_the_text_that_was_sent() -> None:
    body = b'[{"specversion":"1.0","id":"1","source":"s","type":"t","subject":"c","data":{"n":123456789012345678.10}}]'
    [event] = decode_events(body, LIMITS, NOW, Form.CLOUDEVENTS).events
    assert event.properties == {"n": "123456789012345678.10"}


@pytest.mark.parametrize("data", [None, {}], ids=["null", "empty"])
def test_an_event_without_data_or_time_is_an_event(data: Any) -> None:
    left_out = {"specversion": "1.1", "id": "1", "source": "s", "type": "t", "subject": "c"}
    for sent in (left_out, {**left_out, "data": data, "time": None, "data_base64": None}):
        event = _one(sent)
        assert (event.properties, event.timestamp, event.timed) == ({}, NOW, False)


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"specversion": None}, "missing", "specversion"),
        ({"specversion": "0.3"}, "specversion_not_supported", "specversion"),
        ({"specversion": "2.0"}, "specversion_not_supported", "specversion"),
        ({"specversion": 1.0}, "wrong_type", "specversion"),
        ({"subject": None}, "missing", "subject"),
        ({"subject": ""}, "empty", "subject"),
        ({"type": None}, "missing", "type"),
        ({"type": "t" * 257}, "too_long", "type"),
        ({"id": None}, "missing", "id"),
        ({"id": ""}, "empty", "id"),
        ({"id": 7}, "wrong_type", "id"),
        ({"id": "x" * 500}, "too_long", "id"),
        ({"id": "a\u0007"}, "not_printable", "id"),
        ({"source": None}, "missing", "source"),
        ({"source": ""}, "source_not_a_uri", "source"),
        ({"time": "yesterday"}, "timestamp_not_rfc3339", "time"),
        ({"time": "2027-01-01T00:00:00Z"}, "timestamp_in_the_future", "time"),
        ({"data": "text"}, "data_not_an_object", "data"),
        ({"data": [1]}, "data_not_an_object", "data"),
        ({"data": {"a": {"b": {"c": 1}}}}, "properties_too_deep", "data.a.b"),
        ({"data": {"": 1}}, "property_key_length", "data"),
        ({"data": None, "data_base64": "aGk="}, "data_base64_not_supported", "data_base64"),
    ],
    ids=str,
)
def test_E4_a_refusal_names_the_attribute_that_was_sent(change: dict[str, Any], code: str, field: str) -> None:
    body = json.dumps([SENT, {**SENT, **change}, {**SENT, "id": "2"}]).encode()
    decoded = decode_events(body, LIMITS, NOW, Form.CLOUDEVENTS)
    assert [event.event_id for event in decoded.events] == ["A234-1234-1234", "2"]
    [bad] = decoded.refused
    assert (bad.index, bad.code, bad.field) == (1, code, field)
    with pytest.raises(InvalidInput) as single:
        _one({**SENT, **change})
    assert (single.value.code, single.value.field, single.value.detail) == (code, field, bad.reason)


def test_refusals_say_the_way_out() -> None:
    changes = ({"subject": None}, {"specversion": "0.3"}, {"data": "text"}, {"data_base64": "aGk="})
    body = json.dumps([{**SENT, **change} for change in changes]).encode()
    assert [bad.reason for bad in decode_events(body, LIMITS, NOW, Form.CLOUDEVENTS).refused] == [
        "is required: it names the customer whose usage this is",
        "is not a version that is read here: send 1.0",
        "must be object | null, got string: its members become the event's properties",
        "is binary: send `data` as a JSON object instead",
    ]


def test_a_single_one_in_bulk_is_a_batch_of_one() -> None:
    body = json.dumps(SENT).encode()
    assert len(decode_events(body, LIMITS, NOW, Form.CLOUDEVENT).events) == 1
    refused = decode_events(b"[]", LIMITS, NOW, Form.CLOUDEVENT).refused
    assert [(bad.index, bad.code) for bad in refused] == [(0, "wrong_type")]


@pytest.mark.parametrize(
    ("body", "form", "code"),
    [
        (b"{", Form.CLOUDEVENT, "body_not_json"),
        (b"", Form.CLOUDEVENTS, "body_not_json"),
        (b"[]", Form.CLOUDEVENTS, "batch_empty"),
        (json.dumps(SENT).encode(), Form.CLOUDEVENTS, "body_not_a_batch"),
        (b'{"events": []}', Form.CLOUDEVENTS, "body_not_a_batch"),
        (rb'{"events": [{"id": "\ud800"}]}', Form.CLOUDEVENTS, "body_not_a_batch"),
    ],
)
def test_a_body_that_is_not_of_its_form_is_refused_as_a_whole(body: bytes, form: Form, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        decode_events(body, LIMITS, NOW, form)
    assert refused.value.code == code


def test_half_a_surrogate_pair_refuses_its_event_only() -> None:
    body = json.dumps([{**SENT, "data": {"a": "\ud800"}}, SENT]).encode()
    decoded = decode_events(body, LIMITS, NOW, Form.CLOUDEVENTS)
    assert [(bad.index, bad.code) for bad in decoded.refused] == [(0, "not_utf8")]
    assert len(decoded.events) == 1
