"""Prepaid credit of customers, which pays their invoices when these are finalized."""

from typing import Annotated

from fastapi import Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.auth import Call, needs
from api.once import Once, creates
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.credits import BalanceOut, CreditsOut, GrantIn, GrantOut, MovementOut
from api.schemas.paging import Paging
from api.schemas.problem import problems
from ledger.store import audit, credit_grants, customers

routes = router("Credits")


@routes.post("/customers/{customer_id}/credits", status_code=201, response_model=GrantOut, responses=problems(404, 409))
def grant_credit(customer_id: PathId, body: GrantIn, once: Annotated[Once, creates("customers:write")]) -> Response:
    """Grant a customer credit. It pays invoices in its currency when they are finalized, after taxes."""
    call, wanted = once.call, body.new_grant()

    def make(session: Session) -> GrantOut:
        customer = customers.get_customer(session, call.scope, customer_id)
        made = credit_grants.grant(session, call.scope, customer.id, wanted, call.now)
        detail = {"amount": f"{made.amount:f}", "currency": made.currency, "source": made.source}
        audit.write(session, call.scope, call.caller.id, "credit.granted", "grant", made.id, detail, call.now)
        return GrantOut.of(made)

    return once.create(make)


@routes.get("/customers/{customer_id}/credits", responses=problems(404))
def get_credits(
    customer_id: PathId, paging: Annotated[Paging, Query()], call: Annotated[Call, needs("customers:read")]
) -> CreditsOut:
    """A customer's balances as they are now, and their grants, newest first."""
    with call.deps.ledger.read() as session:
        customer = customers.get_customer(session, call.scope, customer_id)
        balances = credit_grants.balances(session, call.scope, customer.id, call.now)
        page = credit_grants.list_grants(session, call.scope, customer.id, paging.cursor, paging.limit)
    return CreditsOut(
        balances=[BalanceOut.of(balance) for balance in balances],
        items=[GrantOut.of(each) for each in page.items],
        next_cursor=page.next_cursor,
    )


@routes.get("/customers/{customer_id}/credits/movements", responses=problems(404))
def list_credit_movements(
    customer_id: PathId, paging: Annotated[Paging, Query()], call: Annotated[Call, needs("customers:read")]
) -> Listing[MovementOut]:
    """A customer's statement, newest first: granted, applied to invoices, returned, expired, voided."""
    with call.deps.ledger.read() as session:
        customer = customers.get_customer(session, call.scope, customer_id)
        page = credit_grants.list_movements(session, call.scope, customer.id, paging.cursor, paging.limit)
    return Listing(items=[MovementOut.of(each) for each in page.items], next_cursor=page.next_cursor)


@routes.post("/customers/{customer_id}/credits/{grant_id}/void", responses=problems(404))
def void_credit(customer_id: PathId, grant_id: PathId, call: Annotated[Call, needs("customers:write")]) -> GrantOut:
    """Take back what is left of a grant. What it has paid stays paid; one that is void stays so."""

    def void(session: Session) -> GrantOut:
        customer = customers.get_customer(session, call.scope, customer_id)
        credit_grants.require_grant_of(session, call.scope, customer.id, grant_id)
        voided = credit_grants.void_grant(session, call.scope, grant_id, call.now)
        audit.write(session, call.scope, call.caller.id, "credit.voided", "grant", voided.id, {}, call.now)
        return GrantOut.of(voided)

    return call.deps.ledger.run(void)
