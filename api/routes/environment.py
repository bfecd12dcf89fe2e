"""The environment that a key belongs to."""

from typing import Annotated

from api.auth import Call, needs
from api.routing import router
from api.schemas.environment import EnvironmentChangesIn, EnvironmentOut
from ledger.store import audit, tenants

routes = router("Environment")


@routes.get("/environment")
def get_environment(call: Annotated[Call, needs("runs:read")]) -> EnvironmentOut:
    """Read the environment of this key."""
    with call.deps.ledger.read() as session:
        return EnvironmentOut.of(tenants.get_environment(session, call.scope))


@routes.patch("/environment")
def change_environment(body: EnvironmentChangesIn, call: Annotated[Call, needs("runs:write")]) -> EnvironmentOut:
    """Change how long periods wait for events that are on their way before they are billed by themselves, after how
    long usage is reported as late, and how late events are billed.
    """
    with call.deps.ledger.begin() as session:
        if body.billing_grace is not None:
            tenants.set_billing_grace(session, call.scope, body.billing_grace)
        if body.usage_freshness is not None:
            tenants.set_usage_freshness(session, call.scope, body.usage_freshness)
        if body.late_events is not None:
            tenants.set_late_events(session, call.scope, body.late_events)
        changed = tenants.get_environment(session, call.scope)
        if body.said:
            actor, what = call.caller.id, "environment.changed"
            audit.write(session, call.scope, actor, what, "environment", changed.id, body.said, call.now)
        return EnvironmentOut.of(changed)
