"""Late events, as the people see them who bill."""

from typing import Annotated, Literal, Self

from pydantic import Field

from api.schemas.common import CustomerRef, DecimalOut, Instant, Listing, Model, any_case
from api.schemas.paging import Paging
from pipelines.steps import list_late_events as listing
from pipelines.steps.list_late_events import LateOutcome, MissedEvent

__all__ = ["LateEventFilters", "LateEventListing", "LateEventOut"]

_Id = Annotated[str, Field(min_length=1, max_length=255)]


class LateEventFilters(Paging):
    customer_id: CustomerRef | None = None
    meter_id: _Id | None = None
    subscription_id: _Id | None = None
    invoice_id: _Id | None = Field(default=None, description="The invoice that the event missed.")
    since: Instant | None = Field(default=None, description="Received then or later.")
    outcome: Annotated[list[Annotated[LateOutcome, any_case()]], Field(max_length=7)] = Field(
        default_factory=list, description="What became of it; give it several times for any of these."
    )

    def wanted(self) -> listing.LateEventFilters:
        return listing.LateEventFilters(
            self.customer_id,
            self.meter_id,
            self.subscription_id,
            self.invoice_id,
            self.since,
            frozenset(self.outcome),
        )


class MissedInvoiceOut(Model):
    """The finalized invoice whose line would have counted the event."""

    id: str
    invoice_number: str | None
    line_id: str
    period_start: Instant
    period_end: Instant


class AdjustmentOut(Model):
    """What the events of a line that were late together have made of it."""

    id: str
    amount: DecimalOut = Field(description="Due less billed, less the discounts of the missed invoice; without taxes.")
    currency: str
    quantity: DecimalOut = Field(description="What the line counts now.")
    quantity_before: DecimalOut
    due: DecimalOut
    billed: DecimalOut
    late_events: int = Field(description="How many were late together, those that do not count included.")
    cause: Literal["late_events", "rerate"]
    carried_by_invoice_id: str | None
    credit_note_id: str | None
    held_because: str | None = Field(description="Why it could not be carried as the environment has it.")


class LateEventOut(Model):
    """An event and what became of it."""

    event_id: str
    customer_id: str = Field(description="The id that you gave the customer.")
    idempotency_key: str | None
    timestamp: Instant
    ingested_at: Instant
    value: str | None = Field(description="The text of the meter's property; null where the meter counts events.")
    meter_id: str
    subscription_id: str
    late_by_seconds: int = Field(description="From the moment up to which the invoice had seen events to the arrival.")
    missed_invoice: MissedInvoiceOut
    outcome: LateOutcome = Field(
        description="`pending`: for the next invoice. `on_draft`, `billed`: on `adjustment.carried_by_invoice_id`. "
        "`credited`: by `adjustment.credit_note_id`. `no_difference`: it changes no amount. `not_counted`: it never "
        "counts. `withdrawn`: the missed invoice is void."
    )
    not_counted_because: str | None = Field(
        description="`duplicate`, `conflict`, `voided`, `amended`, or why its value cannot be read."
    )
    adjustment: AdjustmentOut

    @classmethod
    def of(cls, missed: MissedEvent) -> Self:
        event, one = missed.event, missed.adjustment
        return cls(
            event_id=event.event_id,
            customer_id=missed.customer_id,
            idempotency_key=event.idempotency_key,
            timestamp=event.timestamp,
            ingested_at=event.ingested_at,
            value=event.text,
            meter_id=one.meter_id or "",
            subscription_id=one.subscription_id,
            late_by_seconds=int(missed.late_by.total_seconds()),
            missed_invoice=MissedInvoiceOut(
                id=missed.invoice.id,
                invoice_number=missed.invoice.number,
                line_id=one.line_id,
                period_start=one.period.start,
                period_end=one.period.end,
            ),
            outcome=missed.outcome,
            not_counted_because=None if event.counts else (event.unusable_because or event.status.value),
            adjustment=AdjustmentOut(
                id=one.id,
                amount=one.amount,
                currency=missed.invoice.currency.lower(),
                quantity=one.quantity,
                quantity_before=one.quantity_before,
                due=one.due,
                billed=one.billed,
                late_events=one.events,
                cause=one.cause.value,
                carried_by_invoice_id=one.carried_by,
                credit_note_id=one.credit_note_id,
                held_because=one.held_because,
            ),
        )


class LateEventListing(Listing[LateEventOut]):
    looked_until: Instant | None = Field(description="What was received up to here has been looked at.")
