"""What the events add up to."""

from typing import Annotated

from fastapi import Response

from api.auth import Call, needs
from api.routing import router
from api.schemas.problem import problems
from api.schemas.usage import (
    UsageIn,
    UsageOfMetersIn,
    UsageOfMetersOut,
    UsageOut,
    usage_json,
    usage_of_meters_json,
)
from pipelines.steps.answer_usage import answer_each, answer_usage

routes = router("Usage")

_JSON = "application/json"


@routes.post("/events/usage/meter", response_model=UsageOut, responses=problems(413))
def query_usage(body: UsageIn, call: Annotated[Call, needs("usage:read")]) -> Response:
    """What a meter counted, per customer, in [start, end). Every acknowledged event is in it.

    Without a customer all customers that have events are answered; a customer that is named gets a row in any case.
    With `limit` the first customers or groups are answered, and `next_cursor` reads on: all pages are read as of the
    same moment. 413 where an answer would have more than 200,000 rows or 1,500 windows.
    """
    question = body.question(body.meter_id, body.cursor)
    answer = answer_usage(call.deps.ledger, call.deps.warehouse, call.scope, question)
    return Response(bytes(usage_json(*answer)), media_type=_JSON)


@routes.post("/events/usage", response_model=UsageOfMetersOut)
def query_usage_of_meters(body: UsageOfMetersIn, call: Annotated[Call, needs("usage:read")]) -> Response:
    """The same question about several meters. One that cannot be answered says why, and the others are answered."""
    questions = [body.question(meter_id) for meter_id in body.meter_ids]
    answers = answer_each(call.deps.ledger, call.deps.warehouse, call.scope, questions)
    return Response(usage_of_meters_json(body.meter_ids, answers), media_type=_JSON)
