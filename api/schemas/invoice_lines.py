"""How a line came about, and an invoice that is made again."""

from typing import Any, Literal, Self

from pydantic import Field

from api.schemas.common import DecimalOut, Instant, Model
from api.schemas.prices import PriceBody
from billing.meter import definition_to_json
from billing.price import price_to_json
from ledger.store.prices import PriceRecord
from pipelines.steps.explain_line import LineExplanation
from pipelines.steps.recompute_invoice import Reason, RecomputedInvoice, RecomputedLine
from warehouse_sql.metered_events import MeteredEvent

__all__ = ["LineEventOut", "LineExplanationOut", "RecomputedOut"]


class LinePriceOut(Model):
    """The version of the price that the line was priced by."""

    id: str
    version: int
    display_name: str
    price: PriceBody

    @classmethod
    def of(cls, price: PriceRecord) -> Self:
        terms = PriceBody.model_validate(price_to_json(price.price))
        return cls(id=price.id, version=price.version, display_name=price.display_name, price=terms)


class LineMeterOut(Model):
    """The version of the meter that the line was counted by."""

    id: str
    version: int
    definition: dict[str, Any]


class EvidenceOut(Model):
    """What the quantity was counted from."""

    count: int | None = Field(
        description="Events that were counted; null where that was not recorded. Of an adjustment those that were late."
    )
    quantity_hash: str = Field(description="Stands for the identities and contents of exactly these events.")
    watermark: Instant = Field(description="Events stored up to here are in the quantity.")
    url: str = Field(description="Lists them.")


class LineExplanationOut(Model):
    invoice_id: str
    line_id: str
    display_name: str
    price_type: Literal["fixed", "usage", "one_off", "adjustment"]
    currency: str
    quantity: DecimalOut
    amount: DecimalOut
    period_start: Instant
    period_end: Instant
    explanation: str = Field(description="The arithmetic, one step a line.")
    price: LinePriceOut | None = Field(description="Null for a line that was made by hand.")
    meter: LineMeterOut | None
    events: EvidenceOut | None = Field(description="Null where the line counts no events.")

    @classmethod
    def of(cls, explained: LineExplanation, events_url: str) -> Self:
        line, price, meter = explained.line, explained.price, explained.meter
        counted = line.watermark is not None and line.quantity_hash is not None
        return cls(
            invoice_id=explained.invoice.id,
            line_id=line.id,
            display_name=line.display_name,
            price_type=line.price_type,
            currency=explained.invoice.currency.lower(),
            quantity=line.quantity,
            amount=line.amount,
            period_start=line.period.start,
            period_end=line.period.end,
            explanation=explained.text,
            price=None if price is None else LinePriceOut.of(price),
            meter=None
            if meter is None
            else LineMeterOut(id=meter.id, version=meter.version, definition=definition_to_json(meter)),
            events=EvidenceOut(
                count=explained.events, quantity_hash=line.quantity_hash, watermark=line.watermark, url=events_url
            )
            if counted
            else None,
        )


class LineEventOut(Model):
    """One event that is in a line's quantity."""

    event_id: str
    customer_id: str = Field(description="The id that you gave the customer.")
    idempotency_key: str | None
    timestamp: Instant
    ingested_at: Instant
    value: str | None = Field(description="The text of the meter's property; null where the meter counts events.")

    @classmethod
    def of(cls, event: MeteredEvent) -> Self:
        return cls(
            event_id=event.event_id,
            customer_id=event.customer_id,
            idempotency_key=event.idempotency_key,
            timestamp=event.timestamp,
            ingested_at=event.ingested_at,
            value=event.text,
        )


class ReasonOut(Model):
    code: Literal[
        "amount_differs",
        "events_differ",
        "inputs_differ",
        "line_differs",
        "other_code_version",
        "quantity_differs",
        "record_changed",
        "total_differs",
    ]
    detail: str

    @classmethod
    def of(cls, reason: Reason) -> Self:
        return cls.model_validate(reason, from_attributes=True)


class RecomputedLineOut(Model):
    line_id: str
    display_name: str
    same: bool
    quantity: DecimalOut
    recomputed_quantity: DecimalOut
    amount: DecimalOut
    recomputed_amount: DecimalOut
    watermark: Instant | None
    late_events: int | None = Field(description="Events of the period that came after the watermark: in neither.")
    quantity_with_late_events: DecimalOut | None = Field(description="What the quantity would be with them.")
    reasons: list[ReasonOut] = Field(description="Why the line differs; empty where it is the same.")

    @classmethod
    def of(cls, line: RecomputedLine) -> Self:
        return cls(
            line_id=line.stored.id,
            display_name=line.stored.display_name,
            same=line.same,
            quantity=line.stored.quantity,
            recomputed_quantity=line.again.quantity,
            amount=line.stored.amount,
            recomputed_amount=line.again.amount,
            watermark=line.stored.watermark,
            late_events=line.late_events,
            quantity_with_late_events=line.quantity_with_late_events,
            reasons=[ReasonOut.of(reason) for reason in line.reasons],
        )


class RecomputedOut(Model):
    """An invoice as it is stored and as it comes out when it is made again. Nothing was written."""

    invoice_id: str
    same: bool = Field(description="Whether it is the same to the byte.")
    content_hash: str = Field(description="Stands for everything that the stored invoice says.")
    recomputed_content_hash: str
    total: DecimalOut
    recomputed_total: DecimalOut
    code_version: str | None = Field(description="The code that priced the stored invoice.")
    recomputed_by: str = Field(description="The code that made it again.")
    late_events: int = Field(description="Over all lines; they change nothing here.")
    reasons: list[ReasonOut]
    lines: list[RecomputedLineOut]

    @classmethod
    def of(cls, found: RecomputedInvoice) -> Self:
        return cls(
            invoice_id=found.stored.id,
            same=found.same,
            content_hash=found.content_hash,
            recomputed_content_hash=found.recomputed_content_hash,
            total=found.stored.total,
            recomputed_total=found.again.total,
            code_version=found.stored.code_version,
            recomputed_by=found.code_version,
            late_events=found.late_events,
            reasons=[ReasonOut.of(reason) for reason in found.reasons],
            lines=[RecomputedLineOut.of(line) for line in found.lines],
        )
