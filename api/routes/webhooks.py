"""Where Stripe reports what happened."""

from typing import Annotated

from fastapi import Header, Request
from starlette.concurrency import run_in_threadpool

from api.bodies import raw_body
from api.deps import Deps
from api.routing import PathId, router
from api.schemas.common import Model
from api.schemas.problem import problems
from billing.errors import TooManyRequests
from billing.scope import Scope
from pipelines.steps.process_webhook import receive

routes = router("Webhooks")

_MOST_BYTES = 2 * 1024 * 1024
_EXAMPLE = {
    "id": "evt_1234567890abcdef",
    "object": "event",
    "type": "invoice.paid",
    "created": 1765612095,
    "livemode": False,
    "api_version": "2026-10-28.endive",
    "data": {"object": {"id": "in_1234567890abcdef", "object": "invoice"}},
}
_SIGNED_BODY = {
    "requestBody": {
        "required": True,
        "description": "An event exactly as Stripe sent it: the signature is over these bytes.",
        "content": {"application/json": {"schema": {"type": "object"}, "example": _EXAMPLE}},
    }
}


class ReceivedOut(Model):
    """The event is stored. `duplicate` says that an earlier delivery had brought it."""

    received: bool
    duplicate: bool


@routes.post(
    "/webhooks/stripe/{tenant_id}/{environment_id}", responses=problems(400, 413, 422, 429), openapi_extra=_SIGNED_BODY
)
async def receive_stripe_event(
    tenant_id: PathId,
    environment_id: PathId,
    request: Request,
    stripe_signature: Annotated[str | None, Header(description="Made by Stripe with the endpoint's secret.")] = None,
) -> ReceivedOut:
    """Take an event from Stripe. The signature is the key; the event is stored at once and worked off afterwards."""
    deps: Deps = request.app.state.deps
    now = deps.clock()
    source = request.client.host if request.client else "unknown"
    wait = deps.webhook_sources.wait_seconds(source, now)
    if wait:
        raise TooManyRequests(
            "webhook_rate_limited",
            "Too many webhooks from this address.",
            hint="Stripe repeats what was not taken; TALLY_WEBHOOK_REQUESTS_PER_MINUTE raises the bound.",
            retry_after_seconds=wait,
        )
    raw = await raw_body(request, _MOST_BYTES)
    scope = Scope(tenant_id, environment_id)
    received = await run_in_threadpool(
        receive, deps.ledger, scope, deps.box, deps.verify_webhook, raw, stripe_signature, now, source
    )
    deps.worker.wake()
    return ReceivedOut(received=True, duplicate=not received.fresh)
