"""What becomes of a subscription: cancelled, paused, on another plan, with other seats or prices; and its history."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import Path, Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.auth import Call, needs
from api.once import Once, creates
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.paging import Paging
from api.schemas.problem import problems
from api.schemas.subscription_changes import (
    ChangeIn,
    ChangeOut,
    ChangePlanIn,
    ReasonIn,
    SubscriptionChangesIn,
    new_quantities,
)
from api.schemas.subscriptions import SubscriptionOut
from billing.scope import Scope
from ledger.store import subscription_changes, subscriptions
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps import change_subscription as change
from pipelines.steps.change_subscription import When

routes = router("Subscriptions")

Changing = Annotated[Once, creates("subscriptions:write")]
_REFUSED = problems(404, 409)


@routes.post("/subscriptions/{subscription_id}/cancel", response_model=SubscriptionOut, responses=_REFUSED)
def cancel_subscription(subscription_id: PathId, once: Changing, body: ChangeIn | None = None) -> Response:
    """End a subscription. Its last period ends there, and its invoice is due then; usage until then is billed."""
    return _once(once, body or ChangeIn(), subscription_id, change.cancel)


@routes.post(
    "/subscriptions/{subscription_id}/withdraw-cancellation", response_model=SubscriptionOut, responses=_REFUSED
)
def withdraw_cancellation(subscription_id: PathId, once: Changing, body: ReasonIn | None = None) -> Response:
    """Let a subscription go on that was cancelled and has not ended yet."""
    return _once(once, body or ReasonIn(), subscription_id, change.withdraw_cancellation)


@routes.post("/subscriptions/{subscription_id}/pause", response_model=SubscriptionOut, responses=_REFUSED)
def pause_subscription(subscription_id: PathId, once: Changing, body: ChangeIn | None = None) -> Response:
    """Pause a subscription: nothing is billed for the time until it is resumed. Its periods go on."""
    return _once(once, body or ChangeIn(), subscription_id, change.pause)


@routes.post("/subscriptions/{subscription_id}/resume", response_model=SubscriptionOut, responses=_REFUSED)
def resume_subscription(subscription_id: PathId, once: Changing, body: ChangeIn | None = None) -> Response:
    """End a pause."""
    return _once(once, body or ChangeIn(), subscription_id, change.resume)


@routes.post("/subscriptions/{subscription_id}/change-plan", response_model=SubscriptionOut, responses=_REFUSED)
def change_subscription_plan(subscription_id: PathId, body: ChangePlanIn, once: Changing) -> Response:
    """Put a subscription on another plan. The running period is cut there, and each part is billed by its plan."""
    plan, seats = body.plan_id, new_quantities(body.quantities)
    return _once(once, body, subscription_id, partial(change.change_plan, plan_id=plan, quantities=seats))


@routes.patch("/subscriptions/{subscription_id}", responses=_REFUSED)
def change_subscription(
    subscription_id: PathId, body: SubscriptionChangesIn, call: Annotated[Call, needs("subscriptions:write")]
) -> SubscriptionOut:
    """Change seats, special prices, the end, how it is collected, or metadata."""
    wanted, when = body.changes(), body.when(call.caller.id, call.now)
    return call.deps.ledger.run(
        lambda session: SubscriptionOut.of(
            change.change_terms(session, call.scope, subscription_id, wanted, when), call.now
        )
    )


@routes.get("/subscriptions/{subscription_id}/history", responses=problems(404))
def list_subscription_changes(
    subscription_id: PathId,
    paging: Annotated[Paging, Query()],
    call: Annotated[Call, needs("subscriptions:read")],
) -> Listing[ChangeOut]:
    """List what was changed of a subscription, what is still to come included, last entry first."""
    with call.deps.ledger.read() as session:
        found = subscriptions.get_subscription(session, call.scope, subscription_id)
        page = subscription_changes.list_changes(session, call.scope, found.id, paging.cursor, paging.limit)
    return Listing(items=[ChangeOut.of(each, found) for each in page.items], next_cursor=page.next_cursor)


@routes.post(
    "/subscriptions/{subscription_id}/history/{sequence}/withdraw", response_model=SubscriptionOut, responses=_REFUSED
)
def withdraw_change(
    subscription_id: PathId,
    sequence: Annotated[int, Path(ge=1, le=1_000_000_000)],
    once: Changing,
    body: ReasonIn | None = None,
) -> Response:
    """Take back a change that has not taken effect yet."""
    return _once(once, body or ReasonIn(), subscription_id, partial(change.withdraw_change, sequence=sequence))


def _once(
    once: Once, body: ReasonIn, subscription_id: str, do: Callable[[Session, Scope, str, When], SubscriptionRecord]
) -> Response:
    call, when = once.call, body.when(once.call.caller.id, once.call.now)
    return once.create(
        lambda session: SubscriptionOut.of(do(session, call.scope, subscription_id, when), call.now), status=200
    )
