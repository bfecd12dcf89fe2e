"""Tax rates: what comes on top of an invoice, or is in it already."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.auth import Call, needs
from api.once import Once, creates
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.paging import Paging
from api.schemas.problem import problems
from api.schemas.tax_rates import TaxRateIn, TaxRateOut
from ledger.store import tax_rates

routes = router("Tax rates")


@routes.post("/tax-rates", status_code=201, response_model=TaxRateOut, responses=problems(409))
def create_tax_rate(body: TaxRateIn, once: Annotated[Once, creates("catalog:write")]) -> Response:
    """Create a tax rate. Set it on a customer, or on one invoice, to have it charged."""
    call, terms = once.call, body.terms()
    return once.create(
        lambda session: TaxRateOut.of(tax_rates.create_tax_rate(session, call.scope, **terms, now=call.now))
    )


@routes.get("/tax-rates/{tax_rate_id}", responses=problems(404))
def get_tax_rate(tax_rate_id: PathId, call: Annotated[Call, needs("catalog:read")]) -> TaxRateOut:
    """Read a tax rate."""
    with call.deps.ledger.read() as session:
        return TaxRateOut.of(tax_rates.get_tax_rate(session, call.scope, tax_rate_id))


@routes.get("/tax-rates")
def list_tax_rates(
    paging: Annotated[Paging, Query()], call: Annotated[Call, needs("catalog:read")]
) -> Listing[TaxRateOut]:
    """List tax rates, newest first."""
    with call.deps.ledger.read() as session:
        page = tax_rates.list_tax_rates(session, call.scope, paging.cursor, paging.limit)
    return Listing(items=[TaxRateOut.of(rate) for rate in page.items], next_cursor=page.next_cursor)


@routes.post("/tax-rates/{tax_rate_id}/archive", responses=problems(404))
def archive_tax_rate(tax_rate_id: PathId, call: Annotated[Call, needs("catalog:write")]) -> TaxRateOut:
    """Close a tax rate to new customers and invoices. Those that have it keep it."""
    return call.deps.ledger.run(
        lambda session: TaxRateOut.of(tax_rates.archive_tax_rate(session, call.scope, tax_rate_id))
    )
