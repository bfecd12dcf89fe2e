"""How collecting an invoice goes."""

from typing import Literal, Self

from pydantic import Field

from api.schemas.common import Instant, Model
from api.schemas.payments import PaymentEntryOut
from pipelines.steps.invoice_collection import Collection

__all__ = ["CollectionOut"]


class CollectionOut(Model):
    """As of the last look at Stripe, which each of its webhooks brings about."""

    invoice_id: str
    payment_status: str
    past_due: bool = Field(description="Not paid, and a try has failed or the due date has passed.")
    collected_by: Literal["stripe", "tallyhouse", "manual"] | None = Field(
        description="Who charges and retries, and never both; null while the invoice is not at Stripe."
    )
    stripe_status: str | None
    due_at: Instant | None = Field(description="For invoices that are sent.")
    tries: int = Field(description="As whoever collects counts them, with those that found no card to charge.")
    attempts: list[PaymentEntryOut] = Field(description="Every try to charge a card, oldest first.")
    next_attempt_at: Instant | None

    @classmethod
    def of(cls, found: Collection) -> Self:
        return cls(
            invoice_id=found.invoice_id,
            payment_status=found.payment_status,
            past_due=found.past_due,
            collected_by=found.collected_by,
            stripe_status=found.provider_status,
            due_at=found.due_at,
            tries=found.tries,
            attempts=[PaymentEntryOut.of(entry) for entry in found.attempts],
            next_attempt_at=found.next_attempt_at,
        )
