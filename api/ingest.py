"""The hot path: bytes in, stored events out. No pydantic, no copy that is not needed, no thread for a small body."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.auth import Call
from api.bodies import raw_body
from api.deps import Deps
from api.errors import problem_response
from api.names import looks_like_ours
from billing.errors import InvalidInput
from billing.scope import Scope
from ingestion.body import read_body
from ingestion.decode import Refused, decode_events, decode_one
from ingestion.event import Event
from ingestion.intake import Kept
from ingestion.media import Form, form_of
from ingestion.rows import open_rows

__all__ = ["take_batch", "take_one"]

T = TypeVar("T")
_SINGLE: Final = (Form.JSON, Form.CLOUDEVENT)
# A larger body is decoded in a thread, so that it holds up nobody's answer for long. Half a megabyte takes 6 ms.
_DECODED_AT_ONCE: Final = 512 * 1024
# What a body of unknown length is taken for until it has been read.
_UNKNOWN_LENGTH: Final = 64 * 1024


async def take_one(request: Request, call: Call) -> Response:
    """Keep the event of a request and say where it is: 201 stored, 200 stored before, 202 queued."""
    deps = call.deps
    form = form_of(request.headers.get("content-type"), _SINGLE)
    with deps.intake.admitted(_length(request)) as arrived:
        raw = await raw_body(request, deps.limits.body_bytes, arrived)
        event, row = await _decoded(deps, request, raw, lambda body: decode_one(body, deps.limits, call.now, form))
    sent = [event]
    kept, refused = await _named(deps, call.scope, sent, [0])
    if refused:
        raise InvalidInput(refused[0].code, refused[0].reason, field=refused[0].field)
    rows = [row] if kept is sent else open_rows(kept)
    taken = await deps.intake.take(call.scope, [event.identity], rows)
    status, word = 201, "accepted"
    if taken.kept is Kept.QUEUED:
        status, word = 202, "queued"
    elif taken.duplicates:
        status, word = 200, "duplicate"
    return _answer(status, {"event_id": event.event_id, "status": word})


async def take_batch(request: Request, call: Call) -> Response:
    """Keep a batch's good events and say what became of each: 201 stored, 200 all stored before, 202 queued.

    422 where none of them is good. Unavailable: then nothing is acknowledged and everything may be sent again.
    """
    deps = call.deps
    with deps.intake.admitted(_length(request)) as arrived:
        batch = await _read_batch(request, call, arrived)
    taken = await deps.intake.take(call.scope, batch.identities, batch.rows)
    deps.intake.figures.refused += len(batch.refused)
    refused = [asdict(each) for each in batch.refused]
    if not batch.identities:
        return problem_response(
            request,
            422,
            "all_events_refused",
            "Every event of this request was refused.",
            field="events",
            hint="Correct them by `refused` and send them again.",
            more={"accepted": 0, "duplicates": 0, "refused": refused},
        )
    queued = taken.kept is Kept.QUEUED
    outcome = {
        "status": "queued" if queued else "stored",
        "accepted": taken.accepted,
        "duplicates": taken.duplicates,
        "refused": refused,
        "made_ids": [{"index": index, "event_id": made} for index, made in batch.made.items()],
    }
    return _answer(202 if queued else 201 if taken.accepted else 200, outcome)


@dataclass(frozen=True, slots=True)
class _Batch:
    """What a batch is while it waits: the events themselves, three times as large as their rows, are gone by then."""

    identities: Sequence[str]
    rows: Sequence[bytes]
    refused: Sequence[Refused]
    made: Mapping[int, str]


async def _read_batch(request: Request, call: Call, arrived: Callable[[int], None]) -> _Batch:
    deps = call.deps
    form = form_of(request.headers.get("content-type"))
    raw = await raw_body(request, deps.limits.body_bytes, arrived)
    decoded = await _decoded(deps, request, raw, lambda body: decode_events(body, deps.limits, call.now, form))
    kept, unknown = await _named(deps, call.scope, decoded.events, decoded.indexes)
    gone = {each.index for each in unknown}
    return _Batch(
        [event.idempotency_key or event.event_id for event in kept],
        decoded.rows if kept is decoded.events else open_rows(kept),
        sorted((*decoded.refused, *unknown), key=lambda each: each.index),
        {index: made for index, made in decoded.made.items() if index not in gone},
    )


def _length(request: Request) -> int:
    told = request.headers.get("content-length", "")
    return int(told) if told.isdecimal() else _UNKNOWN_LENGTH


async def _decoded(deps: Deps, request: Request, raw: bytes, decode: Callable[[bytes], T]) -> T:
    encoding = request.headers.get("content-encoding")

    def read() -> T:
        return decode(read_body(raw, encoding, deps.limits))

    if encoding is None and len(raw) <= _DECODED_AT_ONCE:
        return read()
    return await asyncio.get_running_loop().run_in_executor(deps.decoding, read)


async def _named(
    deps: Deps, scope: Scope, events: Sequence[Event], indexes: Sequence[int]
) -> tuple[Sequence[Event], list[Refused]]:
    """The events under their customers' own ids, and those whose id can never be a customer's.

    No caller can choose an id of our form, so one that names nobody would never be billed: it is refused.
    """
    ours = {event.customer_id for event in events if event.customer_id.startswith("cus_")}
    ours = {customer_id for customer_id in ours if looks_like_ours(customer_id)}
    if not ours:
        return events, []
    names: Mapping[str, str] = await asyncio.to_thread(deps.names.external, scope, ours)
    kept: list[Event] = []
    refused: list[Refused] = []
    for index, event in zip(indexes, events, strict=True):
        if event.customer_id not in ours:
            kept.append(event)
        elif (name := names.get(event.customer_id)) is not None:
            event.customer_id = name
            kept.append(event)
        else:
            refused.append(Refused(index, "customer_not_found", "names no customer", "customer_id"))
    return kept, refused


def _answer(status: int, body: object) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
