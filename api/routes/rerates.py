"""Final periods rated again, and what of it is billed."""

from typing import Annotated

from fastapi import Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.auth import Call, needs
from api.once import Once, creates
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.problem import problems
from api.schemas.rerates import (
    AppliedRerateOut,
    ApplyRerateIn,
    DifferenceFilters,
    DifferenceOut,
    RerateDetailOut,
    RerateFailureOut,
    RerateFilters,
    RerateIn,
    RerateOut,
    RerateSumOut,
)
from ledger.store import customers, rerates
from pipelines.steps import request_rerate as rerating

routes = router("Rating again")


@routes.post("/rerates", status_code=201, response_model=RerateOut, responses=problems(409))
def create_rerate(body: RerateIn, once: Annotated[Once, creates("invoices:write")]) -> Response:
    """Rate final periods again with the events of today, and by other versions of prices if any are named.

    Nothing that was billed changes. It is done in the background, read it until its
    `status` is `done`. Then `differences` has the lines that come to something else.
    """
    call = once.call
    wanted = body.model_dump(exclude={"customer_id", "last_day"})

    def make(session: Session) -> RerateOut:
        customer_id = body.customer_id and customers.get_customer(session, call.scope, body.customer_id).id
        last_day = body.last_day or body.first_day
        asked = rerating.RequestedRerate(**wanted, last_day=last_day, customer_id=customer_id)
        return RerateOut.of(rerating.request_rerate(session, call.scope, asked, call.caller.id, call.now))

    answer = once.create(make)
    call.deps.worker.wake()
    return answer


@routes.get("/rerates/{rerate_id}", responses=problems(404))
def get_rerate(rerate_id: PathId, call: Annotated[Call, needs("invoices:read")]) -> RerateDetailOut:
    """Read how far a rating is, and what its lines differ by in sum."""
    with call.deps.ledger.read() as session:
        found = rerates.get_rerate(session, call.scope, rerate_id)
        sums = rerates.sums(session, call.scope, rerate_id)
    return RerateDetailOut(
        **RerateOut.of(found).model_dump(),
        sums=[
            RerateSumOut(currency=currency.lower(), lines=lines, difference=amount)
            for currency, (lines, amount) in sorted(sums.items())
        ],
        failures=[RerateFailureOut.model_validate(failure) for failure in found.failures],
    )


@routes.get("/rerates")
def list_rerates(
    filters: Annotated[RerateFilters, Query()], call: Annotated[Call, needs("invoices:read")]
) -> Listing[RerateOut]:
    """List ratings, newest first."""
    with call.deps.ledger.read() as session:
        page = rerates.list_rerates(session, call.scope, **filters.model_dump())
    return Listing(items=[RerateOut.of(one) for one in page.items], next_cursor=page.next_cursor)


@routes.get("/rerates/{rerate_id}/differences", responses=problems(404))
def list_rerate_differences(
    rerate_id: PathId, filters: Annotated[DifferenceFilters, Query()], call: Annotated[Call, needs("invoices:read")]
) -> Listing[DifferenceOut]:
    """List the lines that come to something else, the latest period first, each with what was made of it.

    While the rating runs, these are those that were found so far.
    """
    with call.deps.ledger.read() as session:
        items, next_cursor = rerating.list_differences(session, call.scope, rerate_id, **filters.model_dump())
    return Listing(items=[DifferenceOut.of(one) for one in items], next_cursor=next_cursor)


@routes.post("/rerates/{rerate_id}/apply", responses=problems(404, 409))
def apply_rerate(
    rerate_id: PathId, body: ApplyRerateIn, call: Annotated[Call, needs("invoices:write")]
) -> AppliedRerateOut:
    """Have chosen differences billed: as adjustment lines of next invoices, credit notes, or invoices of their own.

    Applied again it does nothing. A line that comes to something else by now is left alone and named in `changed`.
    Person and reason are kept in the audit log of each invoice. One call applies those of up to 200 invoices.
    """
    deps = call.deps
    done = rerating.apply_differences(
        deps.ledger, deps.warehouse, call.scope, rerate_id, body.wanted(), call.caller.id, call.now
    )
    return AppliedRerateOut.of(done)
