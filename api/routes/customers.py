"""Customers: whom usage and invoices belong to."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.auth import Call, needs
from api.once import Once, creates
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.customers import CustomerChangesIn, CustomerIn, CustomerOut
from api.schemas.paging import Paging
from api.schemas.problem import problems
from ledger.store import customers
from pipelines.steps.change_taxes import change_customer_taxes
from pipelines.steps.create_customer import create_customer as create

routes = router("Customers")


@routes.post("/customers", status_code=201, response_model=CustomerOut, responses=problems(409))
def create_customer(body: CustomerIn, once: Annotated[Once, creates("customers:write")]) -> Response:
    """Create a customer. With an active connection they are created at Stripe as well, right after this answer."""
    call, wanted = once.call, body.new_customer()
    answer = once.create(lambda session: CustomerOut.of(create(session, call.scope, wanted, call.now)))
    call.deps.worker.wake()
    return answer


@routes.get("/customers/{customer_id}", responses=problems(404))
def get_customer(customer_id: PathId, call: Annotated[Call, needs("customers:read")]) -> CustomerOut:
    """Read a customer by our id or yours."""
    with call.deps.ledger.read() as session:
        return CustomerOut.of(customers.get_customer(session, call.scope, customer_id))


@routes.patch("/customers/{customer_id}", responses=problems(404, 409))
def change_customer(
    customer_id: PathId, body: CustomerChangesIn, call: Annotated[Call, needs("customers:write")]
) -> CustomerOut:
    """Change what taxes a customer is charged. Final invoices keep what they say; drafts follow once priced anew."""
    return call.deps.ledger.run(
        lambda session: CustomerOut.of(
            change_customer_taxes(
                session, call.scope, customer_id, body.tax_exempt, body.tax_rate_ids, call.caller.id, call.now
            )
        )
    )


@routes.get("/customers")
def list_customers(
    paging: Annotated[Paging, Query()], call: Annotated[Call, needs("customers:read")]
) -> Listing[CustomerOut]:
    """List customers, newest first."""
    with call.deps.ledger.read() as session:
        page = customers.list_customers(session, call.scope, paging.cursor, paging.limit)
    return Listing(items=[CustomerOut.of(customer) for customer in page.items], next_cursor=page.next_cursor)
