"""The quick reader against the one that looks at each event: what it takes, the other takes as well, and equally.

`tests/integration/warehouse/test_readers_agree.py` has the engine read the rows of both.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.errors import InvalidInput, TallyError
from ingestion.decode import decode_event, decode_one, read_each
from ingestion.event import Event, Limits
from ingestion.flawless import read_flawless
from ingestion.media import Form
from ingestion.rows import open_rows
from ingestion.wire import latest_taken
from tests.support.odd_batches import NOW, bodies

T = TypeVar("T")
LIMITS = st.sampled_from([Limits(), Limits(events=3, properties=3, property_key_length=6, property_bytes=60, depth=2)])
QUICK = settings(
    max_examples=400, derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
LONG = settings(QUICK, max_examples=20_000, derandomize=False, print_blob=True)


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
@given(sent=bodies(), limits=LIMITS)
def test_E4_what_is_read_at_a_glance_is_what_reading_each_event_gives(sent: tuple[Form, bytes], limits: Limits) -> None:
    _agree(*sent, limits)


def _read(read: Callable[[], T]) -> T | tuple[str, str | None]:
    try:
        return read()
    except InvalidInput as refused:
        return refused.code, refused.field


@QUICK
@given(sent=bodies().map(lambda sent: sent[1]) | bodies().map(lambda sent: sent[1].splitlines()[0]), limits=LIMITS)
def test_E4_a_single_event_is_taken_or_refused_as_it_is_in_a_batch(sent: bytes, limits: Limits) -> None:
    quick = _read(lambda: decode_one(sent, limits, NOW))
    slow = _read(lambda: decode_event(sent, limits, NOW))
    if not isinstance(slow, Event):
        assert quick == slow
        return
    one, row = quick
    assert isinstance(one, Event)
    rows = [_row(row), _row(open_rows([slow])[0])]
    if b'"event_id"' not in sent or rows[0]["event_id"] != rows[1]["event_id"]:
        # Made anew by each of the two.
        assert all(each.pop("event_id").startswith("evt_") for each in rows)
    assert rows[0] == rows[1]
    assert (one.identity == slow.identity) or slow.idempotency_key is None
    assert (one.timestamp, one.timed, one.texts()) == (slow.timestamp, slow.timed, slow.texts())


def test_a_usual_event_is_read_at_a_glance() -> None:
    _, row = decode_one(b' {"event_name":"a","customer_id":"c","properties":{"n":1.50}} ', Limits(), NOW)
    assert b'"n":1.50' in row, "as it was sent, and not as a text made of it"


@pytest.mark.slow
@LONG
@given(sent=bodies(), limits=LIMITS)
def test_E4_what_is_read_at_a_glance_is_the_same_in_new_examples(sent: tuple[Form, bytes], limits: Limits) -> None:
    _agree(*sent, limits)


@pytest.mark.parametrize("form", [Form.JSON, Form.NDJSON])
def test_a_usual_batch_is_read_at_a_glance(form: Form) -> None:
    event = b'{"event_name":"a","customer_id":"c","timestamp":"2025-01-01T00:00:00Z","properties":{"n":1}}'
    assert _agree(form, event + b"\n" + event if form is Form.NDJSON else b"[" + event + b"," + event + b"]", Limits())


def test_the_examples_are_often_read_at_a_glance_and_often_not() -> None:
    taken: list[bool] = []

    @settings(QUICK, max_examples=200)
    @given(sent=bodies())
    def look(sent: tuple[Form, bytes]) -> None:
        try:
            read_each(sent[1], sent[0], Limits(), NOW, latest_taken(Limits(), NOW))
        except TallyError:
            return
        taken.append(_agree(*sent, Limits()))

    look()
    assert 20 < sum(taken) < len(taken) - 20
