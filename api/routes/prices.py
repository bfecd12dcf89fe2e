"""Trying a price out, without creating anything."""

from typing import Annotated

from api.auth import Call, needs
from api.routing import router
from api.schemas.prices import PreviewIn, PreviewOut
from billing.rating import rate

routes = router("Plans")


@routes.post("/prices/preview")
def preview_price(body: PreviewIn, call: Annotated[Call, needs("catalog:read")]) -> PreviewOut:
    """What a quantity costs at a price, tier by tier."""
    return PreviewOut.of(rate(body.price.price("price"), body.quantity, body.currency))
