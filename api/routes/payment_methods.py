"""The cards that customers have saved."""

from typing import Annotated

from api.auth import Call, needs
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.payment_methods import PaymentMethodOut
from api.schemas.problem import problems
from pipelines.steps import payment_methods

routes = router("Payments")


@routes.get("/customers/{customer_id}/payment-methods", responses=problems(404, 409))
def list_payment_methods(
    customer_id: PathId, call: Annotated[Call, needs("payments:read")]
) -> Listing[PaymentMethodOut]:
    """List the cards that a customer has saved, newest first; always on one page."""
    deps = call.deps
    link = deps.gateways.require(call.scope)
    found = payment_methods.list_methods(deps.ledger, call.scope, link, customer_id, call.now)
    return Listing(items=[PaymentMethodOut.of(saved) for saved in found])


@routes.post("/customers/{customer_id}/payment-methods/{payment_method_id}/default", responses=problems(404, 409))
def choose_payment_method(
    customer_id: PathId, payment_method_id: PathId, call: Annotated[Call, needs("payments:write")]
) -> PaymentMethodOut:
    """Charge this card from now on. Asking again changes nothing."""
    deps = call.deps
    link = deps.gateways.require(call.scope)
    return PaymentMethodOut.of(
        payment_methods.choose_default(deps.ledger, call.scope, link, customer_id, payment_method_id, call.now)
    )


@routes.delete(
    "/customers/{customer_id}/payment-methods/{payment_method_id}", status_code=204, responses=problems(404, 409)
)
def detach_payment_method(
    customer_id: PathId, payment_method_id: PathId, call: Annotated[Call, needs("payments:write")]
) -> None:
    """Forget a card for good. If it was the default, choose another: none is chosen by itself."""
    deps = call.deps
    link = deps.gateways.require(call.scope)
    payment_methods.detach(deps.ledger, call.scope, link, customer_id, payment_method_id, call.now)
