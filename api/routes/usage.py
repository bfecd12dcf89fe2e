"""What the events add up to."""

from typing import Annotated

from api.auth import Call, needs
from api.routing import router
from api.schemas.usage import UsageIn, UsageOut
from pipelines.steps.answer_usage import UsageQuestion, answer_usage

routes = router("Usage")


@routes.post("/events/usage/meter")
def query_usage(body: UsageIn, call: Annotated[Call, needs("usage:read")]) -> UsageOut:
    """What a meter counted, per customer, in [start, end). Every acknowledged event is in it.

    Without a customer all customers that have events are answered; a customer that is named gets a row in any case.
    """
    question = UsageQuestion(**body.model_dump(exclude={"customer_id", "customer_ids"}), customer_ids=body.asked())
    answer, asked_as = answer_usage(call.deps.ledger, call.deps.warehouse, call.scope, question)
    return UsageOut.of(answer, asked_as)
