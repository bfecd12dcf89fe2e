"""Events in every form and compression, good and bad ones mixed, by the hundred: over HTTP, into the real warehouse.

Whatever is sent, the answer is no 500, and each index is either stored once with exactly the texts that were sent, or
refused with a code and a reason. The examples are the same in every run; the slow runs draw new ones and print what
failed, with the blob that repeats it.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.media import Form
from tests.support.api_stack import Stack, Tenant
from tests.support.warehouse_fixtures import plain_client
from tests.support.warehouse_process import WarehouseProcess

QUICK = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LONG = settings(QUICK, max_examples=500, derandomize=False, print_blob=True)

PACKERS: dict[str, tuple[str | None, Callable[[bytes], bytes]]] = {
    "as it is": (None, bytes),
    "gzip": ("gzip", gzip.compress),
    "zstd": ("zstd", zstandard.compress),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", lambda body: zlib.compress(body)[2:-4]),
}


@dataclass(frozen=True)
class Stored:
    """An event as it has to be in the warehouse; without a time of its own the moment of arrival is not compared."""

    event_name: str
    customer_id: str
    properties: dict[str, str | None]
    microseconds: int | None


Rows = Callable[[Tenant], dict[str, Stored]]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Item:
    """One event of a request: its JSON, its identity, and what is stored of it; None where it has to be refused."""

    text: str
    identity: str
    stored: Stored | None


_text = st.text(st.characters(codec="utf-8"), max_size=12)
_number = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
_key = st.text(st.characters(codec="utf-8", exclude_characters="."), min_size=1, max_size=8)
_name = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12)


@st.composite
def _scalar(draw: st.DrawFn) -> tuple[str, str | None]:
    """A value's JSON text, and the text that is kept of it."""
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return "null", None
    if kind == 1:
        text = draw(_text)
        return json.dumps(text, ensure_ascii=draw(st.booleans())), text
    sent = draw(_number) if kind < 4 else draw(st.sampled_from(["true", "false", "[1.50 ,2]", "[]", '[{"a": 1e5}]']))
    return sent, sent


def _object(members: list[str]) -> str:
    return "{" + " , ".join(members) + "}"


@st.composite
def _properties(draw: st.DrawFn) -> tuple[str, dict[str, str | None]]:
    parts: list[str] = []
    kept: dict[str, str | None] = {}
    for key in draw(st.lists(_key, max_size=4, unique=True)):
        if draw(st.integers(0, 4)):
            sent, text = draw(_scalar())
        else:
            members = {inner: draw(_scalar()) for inner in draw(st.lists(_key, max_size=2, unique=True))}
            sent = text = _object([f"{json.dumps(inner)}: {each}" for inner, (each, _) in members.items()])
            kept |= {f"{key}.{inner}": leaf for inner, (_, leaf) in members.items()}
        parts.append(f"{json.dumps(key)}:{sent}")
        kept[key] = text
    return _object(parts), kept


@st.composite
def _item(draw: st.DrawFn, form: Form) -> Item:
    cloud = form in (Form.CLOUDEVENT, Form.CLOUDEVENTS)
    name, customer, properties, time = ("type", "subject", "data", "time") if cloud else (
        "event_name", "customer_id", "properties", "timestamp",
    )  # fmt: skip
    sent, kept = draw(_properties())
    event_id = draw(_name)
    offset = timezone(timedelta(minutes=draw(st.integers(-12 * 60, 12 * 60))))
    moments = st.integers(0, 50 * 365 * 86400 * 10**6)
    at = draw(st.none() | moments.map(lambda us: (_EPOCH + timedelta(days=1, microseconds=us)).astimezone(offset)))
    stored = Stored(draw(_name), draw(_name), kept, at and (at - _EPOCH) // timedelta(microseconds=1))
    fields = {name: json.dumps(stored.event_name), customer: json.dumps(stored.customer_id), properties: sent}
    if at:
        fields[time] = json.dumps(at.isoformat())
    fields |= {"id": json.dumps(event_id)} if cloud else {"event_id": json.dumps(event_id)}
    if cloud:
        fields |= {"specversion": '"1.0"', "source": '"/fuzz"', "extension": "7"}
    if not draw(st.integers(0, 3)):
        fault = draw(st.sampled_from(["missing", "empty", "type", "time", "large", "shape", "line"]))
        if fault == "line" and form is Form.NDJSON:
            text = draw(st.sampled_from(["nonsense", '{"event_name', "}", "{} {}", '"\x00"']))
            return Item(text, "", None)
        if fault in ("shape", "line"):
            return Item(draw(st.sampled_from(["7", "null", "[]", '"text"', "{}"])), "", None)
        stored = None  # type: ignore[assignment]
        fields |= {
            "missing": {customer: "null"},
            "empty": {name: '""'},
            "type": {properties: "[1]"},
            "time": {time: '"2024-02-30T00:00:00Z"'},
            "large": {properties: '{"a": "%s"}' % ("x" * 17_000)},
        }[fault]
    order = draw(st.permutations(list(fields)))
    text = _object([f'"{field}": {fields[field]}' for field in order])
    return Item(text, f"/fuzz {event_id}" if cloud else event_id, stored)


@st.composite
def _requests(draw: st.DrawFn) -> tuple[Form, str, list[Item], bytes]:
    """A form, a compression, the events, and the body before it is compressed."""
    form = draw(st.sampled_from(list(Form)))
    most = 1 if form is Form.CLOUDEVENT else 6
    items = draw(st.lists(_item(form), min_size=1, max_size=most))
    texts = [item.text for item in items]
    if form is Form.NDJSON:
        body = draw(st.sampled_from(["\n", "\r\n", "\n \n"])).join(texts) + draw(st.sampled_from(["", "\n"]))
    elif form is Form.CLOUDEVENT:
        body = texts[0]
    else:
        wrap = '{"events": [%s]}' if form is Form.JSON and draw(st.booleans()) else "[%s]"
        body = wrap % " , ".join(texts)
    return form, draw(st.sampled_from(list(PACKERS))), items, body.encode()


@pytest.fixture(scope="module")
def rows_of(warehouse_process: WarehouseProcess) -> Iterator[Rows]:
    """Reads what is stored of a tenant, by identity: the first one received, which is the one that counts."""
    question = (
        "SELECT identity, event_name, customer_id, properties, toUnixTimestamp64Micro(timestamp), timed "
        "FROM tallyhouse.events "
        "WHERE tenant_id = {tenant_id:String} AND environment_id = {environment_id:String} "
        "ORDER BY ingested_at LIMIT 1 BY identity"
    )
    with plain_client(warehouse_process) as client:

        def read(tenant: Tenant) -> dict[str, Stored]:
            scope = {"tenant_id": tenant.scope.tenant_id, "environment_id": tenant.scope.environment_id}
            rows = client.query(question, parameters=scope).result_rows
            return {row[0]: Stored(*row[1:4], row[4] if row[5] else None) for row in rows}

        yield read


def _send(tenant: Tenant, body: bytes, content_type: str, packer: str) -> httpx.Response:
    encoding, pack = PACKERS[packer]
    headers = {"Content-Type": content_type} | ({"Content-Encoding": encoding} if encoding else {})
    return tenant.http.post("/api/v1/events/bulk", content=pack(body), headers=headers)


def _outcome(answer: httpx.Response) -> dict[str, Any]:
    """The counts of an answer; where the request was refused as a whole, of nothing."""
    assert answer.status_code in {201, 400, 413, 415, 422}, answer.text
    found: dict[str, Any] = answer.json()
    if "accepted" not in found:
        assert found["code"]
        assert found["detail"]
        return {"accepted": 0, "duplicates": 0, "refused": []}
    for refused in found["refused"]:
        assert refused["code"]
        assert refused["reason"]
    return found


def _is_stored_or_refused(stack: Stack, rows_of: Rows, sent: tuple[Form, str, list[Item], bytes]) -> None:
    form, packer, items, body = sent
    tenant = stack.tenant()
    answer = _send(tenant, body, form, packer)
    first: dict[str, Stored] = {}
    for item in items:
        if item.stored:
            first.setdefault(item.identity, item.stored)
    assert answer.status_code == (201 if first else 422)
    outcome = _outcome(answer)
    assert [each["index"] for each in outcome["refused"]] == [n for n, item in enumerate(items) if item.stored is None]
    assert outcome["accepted"] == len(first)
    assert outcome["duplicates"] == sum(item.stored is not None for item in items) - len(first)
    assert rows_of(tenant) == first


def _is_never_half_believed(stack: Stack, rows_of: Rows, sent: tuple[Form, str, bytes, bool]) -> None:
    form, packer, body, as_sent = sent
    encoding, pack = PACKERS[packer]
    tenant = stack.tenant()
    headers = {"Content-Type": form.value} | ({"Content-Encoding": encoding} if encoding else {})
    content = body if as_sent else pack(body)
    outcome = _outcome(tenant.http.post("/api/v1/events/bulk", content=content, headers=headers))
    indexes = [each["index"] for each in outcome["refused"]]
    assert indexes == sorted(set(indexes))
    total = outcome["accepted"] + outcome["duplicates"] + len(indexes)
    assert all(0 <= index < total for index in indexes)
    if form is Form.NDJSON and not as_sent and total:
        assert total == sum(1 for line in body.split(b"\n") if line.strip(b" \t\r"))
    assert len(rows_of(tenant)) == outcome["accepted"]


@st.composite
def _damaged(draw: st.DrawFn) -> tuple[Form, str, bytes, bool]:
    """A request with bytes changed, put in or cut off, before it was compressed or after; and its right form or not."""
    form, packer, _, body = draw(_requests())
    after = draw(st.booleans())
    content = bytearray(PACKERS[packer][1](body) if after else body)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        kind = draw(st.integers(0, 2))
        if kind == 0:
            content[at : at + 1] = draw(st.binary(min_size=1, max_size=2))
        elif kind == 1:
            del content[at:]
        else:
            content[at:at] = draw(st.sampled_from([b"\n", b"{", b"}", b",", b"\\ud800", b"\xff", b"\x00", b'"']))
    return draw(st.just(form) | st.sampled_from(list(Form))), packer, bytes(content), after


@QUICK
@given(sent=_requests())
def test_E4_every_index_is_stored_once_as_it_was_sent_or_refused(
    stack: Stack, rows_of: Rows, sent: tuple[Form, str, list[Item], bytes]
) -> None:
    _is_stored_or_refused(stack, rows_of, sent)


@QUICK
@given(sent=_damaged())
def test_E4_a_damaged_request_stores_what_it_says_it_stores(
    stack: Stack, rows_of: Rows, sent: tuple[Form, str, bytes, bool]
) -> None:
    _is_never_half_believed(stack, rows_of, sent)


@pytest.mark.slow
@LONG
@given(sent=_requests())
def test_E4_every_index_is_stored_once_or_refused_in_new_examples(
    stack: Stack, rows_of: Rows, sent: tuple[Form, str, list[Item], bytes]
) -> None:
    _is_stored_or_refused(stack, rows_of, sent)


@pytest.mark.slow
@LONG
@given(sent=_damaged())
def test_E4_a_damaged_request_stores_what_it_says_in_new_examples(
    stack: Stack, rows_of: Rows, sent: tuple[Form, str, bytes, bool]
) -> None:
    _is_never_half_believed(stack, rows_of, sent)
