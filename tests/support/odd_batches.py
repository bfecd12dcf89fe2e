"""Batches of events as nobody would write them and some will: escapes, duplicate keys, blanks, odd numbers and times.

The texts are put together from pieces of JSON, so that what is odd comes up as often as what is usual.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from hypothesis import strategies as st

from ingestion.media import Form

NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""When they are received: most of their times lie before it."""

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
def bodies(draw: st.DrawFn, *, odd: bool = True) -> tuple[Form, bytes]:
    """A form and a body: most hold several events, many are taken as a whole, some are no JSON.

    Without `odd` the events are what most senders send, and only their values are unusual.
    """
    one = _event() | _plain_event() | _plain_event() if odd else _plain_event()
    events = draw(st.lists(one, min_size=1, max_size=4))
    blank = draw(_blank)
    form = draw(st.sampled_from([Form.JSON, Form.NDJSON]))
    if form is Form.NDJSON:
        text = draw(st.sampled_from(["\n", "\r\n", "\n\n", " \n"])).join(events) + blank
    elif draw(st.booleans()):
        text = blank + _list(events, blank)
    else:
        text = _object([('"events"', _list(events, blank))], blank)
    return form, text.encode()
