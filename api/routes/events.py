"""Events: usage, as it happens. Acknowledged when stored, and in the very next usage answer."""

from typing import Annotated

import msgspec
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.auth import Call, needs
from api.errors import problem_response
from api.ingest import store_batch, store_one
from api.openapi import json_answer, request_body
from api.routing import router
from api.schemas.events import BULK_BODIES, EVENT_BODIES
from api.schemas.problem import problem_of, problems
from ingestion.body import read_body
from ingestion.decode import decode_event, decode_events
from ingestion.media import Form, form_of

routes = router("Events")

_COMPRESSED = "\n\nThe body may be compressed: `Content-Encoding: gzip`, `zstd` or `deflate`."
_ERRORS = problems(400, 413, 415, 422)
_SINGLE = (Form.JSON, Form.CLOUDEVENT)

CallToWrite = Annotated[Call, needs("events:write")]


@routes.post(
    "/events",
    status_code=201,
    response_class=Response,
    responses={201: json_answer("EventOut", "The event is stored."), **_ERRORS},
    openapi_extra=request_body(EVENT_BODIES),
    description=(
        "Send one event, or one CloudEvent. It is stored when this answers, and counts once however often it is sent."
        + _COMPRESSED
    ),
)
async def send_event(request: Request, call: CallToWrite) -> Response:
    form = form_of(request.headers.get("content-type"), _SINGLE)
    raw = await request.body()
    return await run_in_threadpool(_one, request, call, raw, form)


@routes.post(
    "/events/bulk",
    status_code=201,
    response_class=Response,
    responses={
        201: json_answer("BulkOut", "What was accepted is stored."),
        **_ERRORS,
        422: problem_of("BulkProblem", 422),
    },
    openapi_extra=request_body(BULK_BODIES),
    description=(
        "Send many events: JSON, NDJSON or CloudEvents. Bad ones are refused by their index with a reason, the good "
        "ones are stored. In NDJSON the index counts the lines that are not blank, from 0. "
        "When all are refused the answer is 422, with the same `accepted`, `duplicates` and `refused` in it."
        + _COMPRESSED
    ),
)
async def send_events(request: Request, call: CallToWrite) -> Response:
    form = form_of(request.headers.get("content-type"))
    raw = await request.body()
    return await run_in_threadpool(_many, request, call, raw, form)


def _one(request: Request, call: Call, raw: bytes, form: Form) -> Response:
    event = decode_event(_body(request, call, raw), call.deps.limits, call.now, form)
    store_one(call.deps, call.scope, event)
    return _answer({"event_id": event.event_id, "status": "accepted"})


def _many(request: Request, call: Call, raw: bytes, form: Form) -> Response:
    decoded = decode_events(_body(request, call, raw), call.deps.limits, call.now, form)
    outcome = store_batch(call.deps, call.scope, decoded)
    if outcome["accepted"]:
        return _answer(outcome)
    return problem_response(
        request,
        422,
        "all_events_refused",
        "Every event of this request was refused.",
        field="events",
        hint="Correct them by `refused` and send them again.",
        more=outcome,
    )


def _body(request: Request, call: Call, raw: bytes) -> bytes:
    return read_body(raw, request.headers.get("content-encoding"), call.deps.limits)


def _answer(body: object) -> Response:
    return Response(msgspec.json.encode(body), 201, media_type="application/json")
