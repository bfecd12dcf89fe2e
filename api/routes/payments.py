"""Saved cards and money that moved."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.auth import Call, needs
from api.once import Once, creates
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.payments import (
    PaymentDetailOut,
    PaymentFilters,
    PaymentIn,
    PaymentOut,
    RefundIn,
    RefundOut,
    SetupIn,
    SetupOut,
)
from api.schemas.problem import problems
from ledger.store import customers, payment_history, payments, refunds
from pipelines.steps import save_card
from pipelines.steps.create_payment import create_payment as create
from pipelines.steps.refund_payment import request_refund

routes = router("Payments")


@routes.post(
    "/payments/customers/{customer_id}/setup/intent",
    status_code=201,
    response_model=SetupOut,
    responses=problems(402, 404, 409),
)
def start_card_setup(customer_id: PathId, body: SetupIn, once: Annotated[Once, creates("payments:write")]) -> Response:
    """Get a page of Stripe's on which the customer saves a card. Send `checkout_url` to the customer."""
    call, deps = once.call, once.call.deps
    wanted = save_card.CardSetup(
        customer_id, body.success_url, body.cancel_url, set_default=body.set_default, provider=body.provider
    )
    return once.carry_out(
        lambda: SetupOut.of(
            save_card.start(deps.ledger, call.scope, deps.gateways.require(call.scope), wanted, call.now)
        )
    )


@routes.post("/payments", status_code=201, response_model=PaymentOut, responses=problems(402, 409))
def create_payment(body: PaymentIn, once: Annotated[Once, creates("payments:write")]) -> Response:
    """Have an invoice paid: by a link for the customer, by the saved card, or record money that came in elsewhere."""
    call, deps, wanted = once.call, once.call.deps, body.new_payment()
    return once.carry_out(lambda: PaymentOut.of(create(deps.ledger, call.scope, deps.gateways, wanted, call.now)))


@routes.get("/payments/{payment_id}", responses=problems(404))
def get_payment(payment_id: PathId, call: Annotated[Call, needs("payments:read")]) -> PaymentDetailOut:
    """Read a payment with its tries, refunds and disputes."""
    with call.deps.ledger.read() as session:
        payment = payments.get_payment(session, call.scope, payment_id)
        return PaymentDetailOut.with_history(
            payment,
            payment_history.list_history(session, call.scope, payment.id),
            refunds.of_payment(session, call.scope, payment.id),
        )


@routes.post("/payments/{payment_id}/refunds", status_code=201, response_model=RefundOut, responses=problems(404, 409))
def refund_payment(payment_id: PathId, body: RefundIn, once: Annotated[Once, creates("payments:write")]) -> Response:
    """Give a payment back, all that is left or an amount. At Stripe it is carried out within seconds: follow it in
    `GET /payments/{id}`. Of an offline payment it is the record that you gave the money back.

    What credit notes have given back as credit is not given back again.
    """
    call, wanted = once.call, body.wanted(payment_id)
    return once.create(
        lambda session: RefundOut.of(request_refund(session, call.scope, wanted, call.caller.id, call.now))
    )


@routes.get("/payments")
def list_payments(
    filters: Annotated[PaymentFilters, Query()], call: Annotated[Call, needs("payments:read")]
) -> Listing[PaymentOut]:
    """List payments, newest first."""
    wanted = filters.model_dump()
    with call.deps.ledger.read() as session:
        if filters.customer_id is not None:
            wanted["customer_id"] = customers.get_customer(session, call.scope, filters.customer_id).id
        page = payments.list_payments(session, call.scope, **wanted)
    return Listing(items=[PaymentOut.of(payment) for payment in page.items], next_cursor=page.next_cursor)
