"""What a key is."""

from typing import Annotated

from api.auth import Call, needs
from api.routing import router
from api.schemas.common import Model

routes = router("Keys")


class MeOut(Model):
    key_id: str
    name: str
    last4: str
    tenant_id: str
    environment_id: str
    scopes: list[str]


@routes.get("/me")
async def get_me(call: Annotated[Call, needs(None)]) -> MeOut:
    """Whose key this is and what it may do. The two ids are part of the address that Stripe sends its events to."""
    return MeOut(
        key_id=call.caller.id,
        name=call.caller.name,
        last4=call.caller.last4,
        tenant_id=call.scope.tenant_id,
        environment_id=call.scope.environment_id,
        scopes=sorted(call.caller.scopes),
    )
