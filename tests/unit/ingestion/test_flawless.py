"""The quick reader against the one that looks at each event: what it takes, the other takes as well, and equally.

Texts are put together from pieces of JSON, so that what is odd in JSON (escapes, duplicate keys, blanks, odd numbers
and times) comes up as often as what is usual.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.errors import TallyError
from ingestion.decode import read_each
from ingestion.event import Limits
from ingestion.flawless import read_flawless
from ingestion.media import Form
from ingestion.wire import latest_taken

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = st.sampled_from([Limits(), Limits(events=3, properties=3, property_key_length=6, property_bytes=60, depth=2)])
QUICK = settings(
    max_examples=400, derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
LONG = settings(QUICK, max_examples=20_000, derandomize=False, print_blob=True)

_PIECES = (
    *("a", "B7", " ", "é", "日本", "🙂", "x" * 40, "{", "}", "[", "]", ":", ",", "}\\n{", "/", "\\/", '\\"', "\\\\"),
    *("\\n", "\\t", "\\b", "\\u00e9", "\\u0041", "\\ud83d\\ude42", "\\ud800", "\\u0000", "\\u007f", "\x7f", "\x01"),
    *("\u2028", "\u200b", "\u00a0", "null", ".", '"', "\n", "\r\n"),
)
_NUMBERS = (
    *("0", "-0", "1", "12.50", "1e5", "1E-7", "123456789012345678.123456789012", "1e400", "-1.5e+300", "00", "1."),
    *("18446744073709551616", ".5", "+1", "NaN", "Infinity"),
)
_OFFSETS = ("Z", "z", "+00:00", "-00:00", "+02:00", "-03:30", "+14:00", "+23:59", "-23:59", "+24:00", "+0200", "")
_blank = st.sampled_from(["", "", "", " ", "\t ", "\r\n", "\n"])
_usual = st.sampled_from(["a", "b7", "acme", "tokens", "model", "é", "o", "o.a"])
_string = st.one_of(
    _usual,
    st.lists(st.sampled_from(_PIECES), max_size=4).map("".join),
    st.sampled_from(["y" * length for length in (6, 7, 58, 60, 61, 256, 257, 512, 513, 16_380, 16_385)]),
).map(lambda text: f'"{text}"')


@st.composite
def _time(draw: st.DrawFn) -> str:
    year = draw(st.sampled_from(["2024", "2025", "2025", "2025", "1969", "1970", "2026", "2027", "9999", "0001"]))
    month, day = draw(st.integers(0, 13)), draw(st.integers(0, 32))
    hour, minute, second = draw(st.integers(0, 24)), draw(st.integers(0, 60)), draw(st.integers(0, 60))
    if draw(st.integers(0, 4)):
        month, day, hour, minute, second = month % 12 + 1, day % 28 + 1, hour % 24, minute % 60, second % 60
    digits = draw(st.sampled_from([0, 0, 1, 2, 3, 5, 6, 7, 8, 9, 12]))
    fraction = draw(st.text("0159", min_size=digits, max_size=digits))
    middle = draw(st.sampled_from("TTTTt _"))
    clock = f"{hour:02}:{minute:02}:{second:02}" + (f".{fraction}" if digits else "")
    return f'"{year}-{month:02}-{day:02}{middle}{clock}{draw(st.sampled_from(_OFFSETS))}"'


def _list(items: Sequence[str], blank: str) -> str:
    return "[" + f"{blank},{blank}".join(items) + "]"


def _object(members: Sequence[tuple[str, str]], blank: str) -> str:
    return "{" + blank + f",{blank}".join(f"{key}{blank}:{blank}{value}" for key, value in members) + blank + "}"


_scalar = st.one_of(_string, st.sampled_from(["null", "true", "false"]), st.sampled_from(_NUMBERS))
_value = st.recursive(
    _scalar,
    lambda inner: st.one_of(
        st.builds(_list, st.lists(inner, max_size=3), _blank),
        st.builds(_object, st.lists(st.tuples(_string, inner), max_size=3), _blank),
    ),
    max_leaves=4,
)
_properties = st.one_of(
    st.builds(_object, st.lists(st.tuples(_string, _scalar), max_size=4), _blank),
    st.builds(_object, st.lists(st.tuples(_string, _value), max_size=4), _blank),
    st.sampled_from(["null", "{}", "[]"]),
)
_FIELDS: dict[str, st.SearchStrategy[str]] = {
    "event_id": _string | st.just("null"),
    "timestamp": _time() | st.sampled_from(["null", '"yesterday"', "1700000000", '""']),
    "idempotency_key": _string | st.just("null"),
    "properties": _properties,
}


@st.composite
def _event(draw: st.DrawFn) -> str:
    members = [("event_name", draw(_string)), ("customer_id", draw(_string))]
    for name, values in _FIELDS.items():
        # Now and then a field twice, of which the last one counts.
        count = draw(st.sampled_from([0, 1, 1, 1, 1, 2]))
        members += [(name, value) for value in draw(st.lists(values, min_size=count, max_size=count))]
    if not draw(st.integers(0, 30)):
        fields = [("timed", "true"), ("other", "1"), ("event_name", "7"), ("tenant_id", "1")]
        members.append(draw(st.sampled_from(fields)))
    order = draw(st.permutations(members))
    return _object([(f'"{name}"', value) for name, value in order], draw(_blank))


@st.composite
def _plain_event(draw: st.DrawFn) -> str:
    """What most senders send: without it, hardly a batch of several events would be without a fault."""
    members = [("event_name", '"a"'), ("customer_id", '"acme"'), ("event_id", draw(_usual.map(json.dumps)))]
    if draw(st.booleans()):
        month, offset = draw(st.integers(1, 9)), draw(st.sampled_from(_OFFSETS[:8]))
        members.append(("timestamp", f'"2025-0{month}-05T10:00:00.25{offset}"'))
    values = st.one_of(_usual.map(json.dumps), st.sampled_from(_NUMBERS[:9]), _value)
    keys = _usual.map(json.dumps)
    members.append(("properties", _object(draw(st.lists(st.tuples(keys, values), max_size=3)), draw(_blank))))
    return _object([(f'"{name}"', value) for name, value in members], draw(_blank))


@st.composite
def _bodies(draw: st.DrawFn) -> tuple[Form, bytes]:
    events = draw(st.lists(_event() | _plain_event() | _plain_event(), min_size=1, max_size=4))
    blank = draw(_blank)
    form = draw(st.sampled_from([Form.JSON, Form.NDJSON]))
    if form is Form.NDJSON:
        text = draw(st.sampled_from(["\n", "\r\n", "\n\n", " \n"])).join(events) + blank
    elif draw(st.booleans()):
        text = blank + _list(events, blank)
    else:
        text = _object([('"events"', _list(events, blank))], blank)
    return form, text.encode()


def _text(raw: msgspec.Raw) -> str | None:
    """The text that the engine keeps of a row's value: numbers and booleans as they stand, null as null."""
    value = bytes(raw)
    if value[:1] == b'"':
        return str(msgspec.json.decode(value, type=str))
    return None if value == b"null" else value.decode()


def _row(row: bytes) -> dict[str, Any]:
    """A row as it will be stored."""
    fields = msgspec.json.decode(b"{" + row, type=dict[str, msgspec.Raw])
    stored: dict[str, Any] = {name: _text(raw) for name, raw in fields.items() if name != "properties"}
    stored["timestamp"] = datetime.fromisoformat(stored["timestamp"]).astimezone(UTC)
    if "properties" in fields:
        inner = msgspec.json.decode(fields["properties"], type=dict[str, msgspec.Raw])
        assert not any(bytes(raw)[:1] in {b"{", b"["} for raw in inner.values()), "nested values are texts by now"
        assert list(inner) == sorted(inner), "equal content has equal rows"
        stored["properties"] = {key: _text(raw) for key, raw in inner.items()}
    return stored


def _agree(form: Form, body: bytes, limits: Limits) -> bool:
    """Whether the quick reader took the batch; then the other one has to have read the same."""
    latest = latest_taken(limits, NOW)
    quick = read_flawless(body, form, limits, NOW, latest)
    if quick is None:
        return False
    slow = read_each(body, form, limits, NOW, latest)
    assert slow.refused == []
    assert list(slow.indexes) == list(range(len(quick.events)))
    assert set(quick.made) == set(slow.made)
    assert all(b"\n" not in row for row in quick.rows)
    for index, (one, other) in enumerate(zip(quick.events, slow.events, strict=True)):
        assert one.texts() == other.texts()
        assert one.timestamp == other.timestamp
        named = [(each.event_name, each.customer_id, each.idempotency_key, each.timed) for each in (one, other)]
        assert named[0] == named[1]
        rows = [_row(quick.rows[index]), _row(slow.rows[index])]
        if index in quick.made:
            assert (rows[0].pop("event_id"), rows[1].pop("event_id")) == (quick.made[index], slow.made[index])
        else:
            assert one.event_id == other.event_id
        assert rows[0] == rows[1]
    return True


@QUICK
@given(sent=_bodies(), limits=LIMITS)
def test_E4_what_is_read_at_a_glance_is_what_reading_each_event_gives(sent: tuple[Form, bytes], limits: Limits) -> None:
    _agree(*sent, limits)


@pytest.mark.slow
@LONG
@given(sent=_bodies(), limits=LIMITS)
def test_E4_what_is_read_at_a_glance_is_the_same_in_new_examples(sent: tuple[Form, bytes], limits: Limits) -> None:
    _agree(*sent, limits)


@pytest.mark.parametrize("form", [Form.JSON, Form.NDJSON])
def test_a_usual_batch_is_read_at_a_glance(form: Form) -> None:
    event = b'{"event_name":"a","customer_id":"c","timestamp":"2025-01-01T00:00:00Z","properties":{"n":1}}'
    assert _agree(form, event + b"\n" + event if form is Form.NDJSON else b"[" + event + b"," + event + b"]", Limits())


def test_the_examples_are_often_read_at_a_glance_and_often_not() -> None:
    taken: list[bool] = []

    @settings(QUICK, max_examples=200)
    @given(sent=_bodies())
    def look(sent: tuple[Form, bytes]) -> None:
        try:
            read_each(sent[1], sent[0], Limits(), NOW, latest_taken(Limits(), NOW))
        except TallyError:
            return
        taken.append(_agree(*sent, Limits()))

    look()
    assert 20 < sum(taken) < len(taken) - 20
