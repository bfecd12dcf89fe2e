"""Coupons, and the customers and subscriptions that have them."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.auth import Call, needs
from api.once import Once, creates
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.coupons import CouponIn, CouponOut, DiscountFilters, DiscountIn, DiscountOut
from api.schemas.paging import Paging
from api.schemas.problem import problems
from ledger.store import coupons, customers, discounts
from pipelines.steps import give_coupon as giving

routes = router("Coupons")


@routes.post("/coupons", status_code=201, response_model=CouponOut, responses=problems(409))
def create_coupon(body: CouponIn, once: Annotated[Once, creates("catalog:write")]) -> Response:
    """Create a coupon. Its terms never change; give it to customers with `POST /api/v1/discounts`."""
    call, terms = once.call, body.terms()
    return once.create(
        lambda session: CouponOut.of(
            coupons.create_coupon(
                session,
                call.scope,
                code=body.code,
                name=body.name,
                terms=terms,
                redeem_by=body.redeem_by,
                max_redemptions=body.max_redemptions,
                now=call.now,
            )
        )
    )


@routes.get("/coupons/{coupon_id}", responses=problems(404))
def get_coupon(coupon_id: PathId, call: Annotated[Call, needs("catalog:read")]) -> CouponOut:
    """Read a coupon by its id or code."""
    with call.deps.ledger.read() as session:
        return CouponOut.of(coupons.get_coupon(session, call.scope, coupon_id))


@routes.get("/coupons")
def list_coupons(
    paging: Annotated[Paging, Query()], call: Annotated[Call, needs("catalog:read")]
) -> Listing[CouponOut]:
    """List coupons, newest first."""
    with call.deps.ledger.read() as session:
        page = coupons.list_coupons(session, call.scope, paging.cursor, paging.limit)
    return Listing(items=[CouponOut.of(coupon) for coupon in page.items], next_cursor=page.next_cursor)


@routes.post("/coupons/{coupon_id}/archive", responses=problems(404))
def archive_coupon(coupon_id: PathId, call: Annotated[Call, needs("catalog:write")]) -> CouponOut:
    """Close a coupon to new customers. Discounts that were given go on."""
    return call.deps.ledger.run(lambda session: CouponOut.of(coupons.archive_coupon(session, call.scope, coupon_id)))


@routes.post("/discounts", status_code=201, response_model=DiscountOut, responses=problems(409))
def create_discount(body: DiscountIn, once: Annotated[Once, creates("customers:write")]) -> Response:
    """Give a coupon to a customer, for all subscriptions or for one."""
    call, wanted = once.call, body.new_discount()
    return once.create(
        lambda session: DiscountOut.of(giving.give_coupon(session, call.scope, wanted, call.caller.id, call.now))
    )


@routes.get("/discounts/{discount_id}", responses=problems(404))
def get_discount(discount_id: PathId, call: Annotated[Call, needs("customers:read")]) -> DiscountOut:
    """Read a discount with its coupon."""
    with call.deps.ledger.read() as session:
        return DiscountOut.of(discounts.get_discount(session, call.scope, discount_id))


@routes.get("/discounts")
def list_discounts(
    filters: Annotated[DiscountFilters, Query()], call: Annotated[Call, needs("customers:read")]
) -> Listing[DiscountOut]:
    """List discounts, newest first."""
    wanted = filters.model_dump()
    with call.deps.ledger.read() as session:
        if filters.customer_id is not None:
            wanted["customer_id"] = customers.get_customer(session, call.scope, filters.customer_id).id
        page = discounts.list_discounts(session, call.scope, **wanted)
    return Listing(items=[DiscountOut.of(discount) for discount in page.items], next_cursor=page.next_cursor)


@routes.post("/discounts/{discount_id}/end", responses=problems(404))
def end_discount(discount_id: PathId, call: Annotated[Call, needs("customers:write")]) -> DiscountOut:
    """End a discount now: it does not count for the running period, nor for later ones."""
    return call.deps.ledger.run(
        lambda session: DiscountOut.of(giving.end_discount(session, call.scope, discount_id, call.caller.id, call.now))
    )
