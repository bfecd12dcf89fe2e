"""Events: usage, as it happens. Acknowledged when stored, and in the very next usage answer."""

from typing import Annotated

from fastapi import Request
from starlette.responses import Response

from api.auth import Call, needs
from api.ingest import take_batch, take_one
from api.openapi import json_answer, request_body
from api.routing import router
from api.schemas.events import BULK_BODIES, EVENT_BODIES
from api.schemas.problem import problem_of, problems

routes = router("Events")

_COMPRESSED = "\n\nThe body may be compressed: `Content-Encoding: gzip`, `zstd` or `deflate`."
_ERRORS = problems(400, 413, 415, 422, 429)

CallToWrite = Annotated[Call, needs("events:write")]


@routes.post(
    "/events",
    status_code=201,
    response_class=Response,
    responses={
        201: json_answer("EventOut", "The event is stored."),
        200: json_answer("EventOut", "It was stored before, with the same content."),
        202: json_answer("EventOut", "It is on this server's disk until the warehouse is back."),
        **_ERRORS,
    },
    openapi_extra=request_body(EVENT_BODIES),
    description=(
        "Send one event, or one CloudEvent. It is stored when this answers 201, and counts once however often it is "
        "sent." + _COMPRESSED
    ),
)
async def send_event(request: Request, call: CallToWrite) -> Response:
    return await take_one(request, call)


@routes.post(
    "/events/bulk",
    status_code=201,
    response_class=Response,
    responses={
        201: json_answer("BulkOut", "What was accepted is stored."),
        200: json_answer("BulkOut", "All good events were stored before, with the same content."),
        202: json_answer(
            "BulkOut", "What was accepted is on this server's disk, and goes to the warehouse when that is back."
        ),
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
    return await take_batch(request, call)
