"""One event a line: each line that is not blank is an event or a reason, by its place among them."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from billing.errors import InvalidInput, TooLarge
from ingestion.decode import Decoded, decode_events
from ingestion.event import Limits
from ingestion.media import Form

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits(events=5)


def _line(event_id: str, **more: Any) -> bytes:
    return json.dumps({"event_name": "api.request", "customer_id": "acme", "event_id": event_id, **more}).encode()


def _decode(body: bytes) -> Decoded:
    return decode_events(body, LIMITS, NOW, Form.NDJSON)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n \t\n"], ids=["LF", "CRLF", "blank lines"])
@pytest.mark.parametrize("last", [b"", b"\n"], ids=["open end", "closed end"])
def test_lines_are_events_in_their_order_and_blank_ones_are_passed_over(end: bytes, last: bytes) -> None:
    decoded = _decode(end + end.join([_line("a"), _line("b")]) + last)
    assert ([event.event_id for event in decoded.events], decoded.refused) == (["a", "b"], [])


def test_E6_a_number_keeps_the_text_that_was_sent() -> None:
    body = b'{"event_name":"a","customer_id":"c","properties":{"n":123456789012345678.10, "l":[1.50 ,2e3]}}\n'
    assert _decode(body).events[0].properties == {"n": "123456789012345678.10", "l": "[1.50 ,2e3]"}


@pytest.mark.parametrize(
    ("line", "code", "field"),
    [
        (b"no json", "not_json", None),
        (_line("x")[:-9], "not_json", None),
        (b'{"event_name": 5', "not_json", None),
        (_line("x") + _line("y"), "not_json", None),
        (_line("x") + b",", "not_json", None),
        (b'{"event_name": NaN, "customer_id": "c"}', "not_json", None),
        (b"\xef\xbb\xbf" + _line("x"), "not_json", None),
        (b'{"event_name":"\xff","customer_id":"c"}', "not_utf8", None),
        (b'{"event_name":"\\ud800","customer_id":"c"}', "not_utf8", None),
        (b"[" * 100_000 + b"]" * 100_000, "too_deep", None),
        (b"7", "wrong_type", None),
        (b"[]", "wrong_type", None),
        (_line("x", customer_id=5), "wrong_type", "customer_id"),
        (_line("x", zip=1), "unknown_field", "zip"),
        (_line("x", timestamp="soon"), "timestamp_not_rfc3339", "timestamp"),
    ],
    ids=[
        "text", "cut", "cut in a wrong field", "two", "comma", "NaN", "byte order mark", "no text", "half a surrogate",
        "too deep", "number", "list", "wrong field", "unknown field", "no time",
    ],
)  # fmt: skip
def test_E4_a_bad_line_is_refused_by_its_place_and_the_others_are_kept(
    line: bytes, code: str, field: str | None
) -> None:
    decoded = _decode(b"\n".join([_line("a"), b"", line, _line("b")]))
    assert [event.event_id for event in decoded.events] == ["a", "b"]
    assert [(bad.index, bad.code, bad.field) for bad in decoded.refused] == [(1, code, field)]


def test_E4_half_a_last_line_is_refused_and_says_so() -> None:
    decoded = _decode(_line("a") + b"\n" + _line("b")[:30])
    assert len(decoded.events) == 1
    assert [(bad.index, bad.code, bad.reason) for bad in decoded.refused] == [
        (1, "not_json", "is not JSON: Input data was truncated")
    ]


def test_a_value_that_goes_over_two_lines_is_two_bad_lines() -> None:
    decoded = _decode(json.dumps(json.loads(_line("a")), indent=0).replace("\n", "", 1).encode())
    assert decoded.events == []
    assert [bad.index for bad in decoded.refused] == [0, 1, 2, 3]


@pytest.mark.parametrize("body", [b"", b"\n\n", b" \r\n"])
def test_no_line_is_no_batch(body: bytes) -> None:
    with pytest.raises(InvalidInput) as refused:
        _decode(body)
    assert refused.value.code == "batch_empty"


def test_more_lines_than_the_bound_are_refused_as_a_whole() -> None:
    with pytest.raises(TooLarge, match="6 events"):
        _decode(b"\n".join([_line("a")] * 6))
