"""Events: usage, as it happens. Acknowledged when stored, and in the very next usage answer."""

from typing import Annotated

import msgspec
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.auth import Call, needs
from api.errors import problem_response
from api.ingest import store_batch, store_one
from api.openapi import json_answer, json_body, json_body_or_list
from api.routing import router
from api.schemas.problem import problem_of, problems
from ingestion.body import read_body
from ingestion.decode import decode_event, decode_events

routes = router("Events")

_COMPRESSED = "\n\nThe body may be compressed: `Content-Encoding: gzip`, `zstd` or `deflate`."
_ERRORS = problems(400, 413, 415, 422)

CallToWrite = Annotated[Call, needs("events:write")]


@routes.post(
    "/events",
    status_code=201,
    response_class=Response,
    responses={201: json_answer("EventOut", "The event is stored."), **_ERRORS},
    openapi_extra=json_body("EventIn"),
    description="Send one event. It is stored when this answers, and counts once however often it is sent."
    + _COMPRESSED,
)
async def send_event(request: Request, call: CallToWrite) -> Response:
    raw = await request.body()
    return await run_in_threadpool(_one, request, call, raw)


@routes.post(
    "/events/bulk",
    status_code=201,
    response_class=Response,
    responses={
        201: json_answer("BulkOut", "What was accepted is stored."),
        **_ERRORS,
        422: problem_of("BulkProblem", 422),
    },
    openapi_extra=json_body_or_list("BulkIn", "EventIn"),
    description=(
        "Send many events. Bad ones are refused by their index with a reason, the good ones are stored. "
        "When all are refused the answer is 422, with the same `accepted`, `duplicates` and `refused` in it."
        + _COMPRESSED
    ),
)
async def send_events(request: Request, call: CallToWrite) -> Response:
    raw = await request.body()
    return await run_in_threadpool(_many, request, call, raw)


def _one(request: Request, call: Call, raw: bytes) -> Response:
    event = decode_event(_body(request, call, raw), call.deps.limits, call.now)
    store_one(call.deps, call.scope, event)
    return _answer({"event_id": event.event_id, "status": "accepted"})


def _many(request: Request, call: Call, raw: bytes) -> Response:
    decoded = decode_events(_body(request, call, raw), call.deps.limits, call.now)
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
    headers = request.headers
    return read_body(raw, headers.get("content-encoding"), headers.get("content-type"), call.deps.limits)


def _answer(body: object) -> Response:
    return Response(msgspec.json.encode(body), 201, media_type="application/json")
