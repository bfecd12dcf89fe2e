"""Cards that customers have saved at Stripe. Card numbers never come here; four digits are all that is known."""

from typing import Literal, Self

from pydantic import Field

from api.schemas.common import Instant, Model
from pipelines.steps.payment_methods import SavedMethod

__all__ = ["PaymentMethodOut"]


class PaymentMethodOut(Model):
    """`status` is expiring in the card's last month and the one before, expired afterwards."""

    id: str
    type: str
    brand: str | None
    last4: str | None
    exp_month: int | None
    exp_year: int | None
    status: Literal["valid", "expiring", "expired"]
    is_default: bool = Field(description="This one is charged, unless an invoice says otherwise.")
    created_at: Instant

    @classmethod
    def of(cls, saved: SavedMethod) -> Self:
        method = saved.method
        return cls(
            id=method.id,
            type=method.card.payment_method,
            brand=method.card.brand,
            last4=method.card.last4,
            exp_month=method.exp_month,
            exp_year=method.exp_year,
            status=saved.state,
            is_default=saved.is_default,
            created_at=method.created_at,
        )
