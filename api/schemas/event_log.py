"""Stored events as their owners see them: found, explained, voided and amended."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, JsonValue

from api.schemas.common import CustomerRef, DecimalOut, Instant, Listing, Model
from api.schemas.events import EventName, Identifier
from api.schemas.paging import Paging
from billing.errors import InvalidInput
from billing.exact import format_decimal
from billing.meter import Filter
from ingestion.amendment import LONGEST_REASON
from ingestion.media import Form
from pipelines.steps.correct_event import Correction
from pipelines.steps.explain_event import Billing, Copy, EventExplained, Explanation, MeterOutcome
from warehouse_sql.conflicts import Conflict, Difference
from warehouse_sql.event_log import EventFilters, StoredEvent
from warehouse_sql.instants import EPOCH, FAR_FUTURE

__all__ = [
    "AMEND_BODY",
    "AmendIn",
    "ConflictFilters",
    "ConflictListing",
    "ConflictOut",
    "CorrectionOut",
    "EventExplanationOut",
    "EventLogFilters",
    "StoredEventOut",
    "VoidIn",
    "between",
]

EventStatusName = Literal["counted", "duplicate", "conflict", "voided", "amended"]
Reason = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_REASON,
        pattern=r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$",
        description="Why; kept in the audit log.",
    ),
]


def between(start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    """[start, end) with what was left out filled in. InvalidInput `end_before_start`."""
    found = start or EPOCH, min(end or FAR_FUTURE, FAR_FUTURE)
    if found[1] <= found[0]:
        raise InvalidInput("end_before_start", "The end must come after the start.", field="end_time")
    return found


class EventLogFilters(Paging):
    event_id: Identifier | None = None
    event_name: EventName | None = None
    customer_id: CustomerRef | None = None
    source: Annotated[str | None, Field(max_length=255, description="`api`, or `amendment`.")] = None
    property: Annotated[str | None, Field(max_length=256, description="Together with `property_value`.")] = None
    property_value: Annotated[str | None, Field(max_length=1000, description="The text that was sent.")] = None
    superseded: bool | None = Field(default=None, description="Only events that are left out, or only the others.")
    start_time: Instant | None = None
    end_time: Instant | None = None

    def wanted(self, customer_id: str | None) -> EventFilters:
        """The filters, with the customer's external id."""
        asked = self.model_dump(exclude={"limit", "cursor", "start_time", "end_time", "customer_id"})
        start, end = between(self.start_time, self.end_time)
        return EventFilters(**asked, customer_id=customer_id, start=start, end=end)


class StoredEventOut(Model):
    """`properties` are the texts that were sent. All but `counted` are left out of usage."""

    event_id: str
    identity: str
    event_name: str
    customer_id: str = Field(description="The id that you gave the customer.")
    timestamp: Instant
    timed: bool = Field(description="False where the event came without a timestamp.")
    properties: dict[str, str | None]
    idempotency_key: str | None
    source: str
    ingested_at: Instant
    status: EventStatusName
    superseded_at: Instant | None

    @classmethod
    def of(cls, event: StoredEvent) -> Self:
        names = [name for name in cls.model_fields if name != "status"]
        return cls(**{name: getattr(event, name) for name in names}, status=event.status.value)


class DifferenceOut(Model):
    field: str = Field(examples=["properties.tokens"])
    winner: str | None
    loser: str | None

    @classmethod
    def of(cls, difference: Difference) -> Self:
        return cls(field=difference.field, winner=difference.winner, loser=difference.loser)


class ConflictFilters(Paging):
    customer_id: CustomerRef | None = None
    start_time: Instant | None = Field(default=None, description="By the timestamp of the event that is left out.")
    end_time: Instant | None = None


class ConflictOut(Model):
    """`loser` came again under the identity of `winner`, which was received first."""

    identity: str
    winner: StoredEventOut
    loser: StoredEventOut
    differences: list[DifferenceOut]

    @classmethod
    def of(cls, conflict: Conflict) -> Self:
        return cls(
            identity=conflict.loser.identity,
            winner=StoredEventOut.of(conflict.winner),
            loser=StoredEventOut.of(conflict.loser),
            differences=[DifferenceOut.of(each) for each in conflict.differences],
        )


class ConflictListing(Listing[ConflictOut]):
    """What was received after `reconciled_until` is not in the list yet; it never counts twice all the same."""

    reconciled_until: Instant


class FilterOut(Model):
    property: str
    op: str
    value: str | list[str] | None

    @classmethod
    def of(cls, unmet: Filter) -> Self:
        value = unmet.value
        shown = list(value) if isinstance(value, tuple) else value
        return cls(
            property=unmet.property,
            op=unmet.op.value,
            value=shown if shown is None or isinstance(shown, str | list) else format_decimal(shown),
        )


class EventRollupOut(Model):
    """`is_current` says whether the day's rollup knows of the event; until then the day is read from the events."""

    build: int
    watermark: Instant
    is_current: bool


class EventBillingOut(Model):
    """`late`: received after its invoice was read. `not_yet_billed`: it will be on the invoice of this period."""

    status: Literal["finalized", "draft", "late", "not_yet_billed", "void"]
    subscription_id: str
    price_id: str
    period_start: Instant
    period_end: Instant
    invoice_id: str | None
    invoice_number: str | None
    line_id: str | None
    watermark: Instant | None

    @classmethod
    def of(cls, billing: Billing) -> Self:
        invoice = billing.invoice
        return cls(
            status=billing.state.value,
            subscription_id=billing.subscription_id,
            price_id=billing.price_id,
            period_start=billing.period.start,
            period_end=billing.period.end,
            invoice_id=None if invoice is None else invoice.id,
            invoice_number=None if invoice is None else invoice.number,
            line_id=billing.line_id,
            watermark=billing.watermark,
        )


class EventMeterOut(Model):
    """What one version of a meter makes of the event."""

    meter_id: str
    meter_version: int
    aggregation: str
    counted: bool
    value: str | None = Field(description="The text that the meter reads; null for a count, which reads none.")
    multiplier: DecimalOut | None = Field(description="What the meter multiplies values by.")
    reason: (
        Literal[
            "before_event_from",
            "filter_not_met",
            "missing",
            "not_a_number",
            "too_many_decimals",
            "too_large",
            "duplicate",
            "conflict",
            "voided",
            "amended",
        ]
        | None
    )
    filter: FilterOut | None = Field(description="The first filter that the event does not meet.")
    hour: Instant = Field(description="The UTC hour in which it is counted.")
    rollup: EventRollupOut | None = Field(description="Null while the day has no rollup of this meter.")
    billing: list[EventBillingOut]
    unbilled_because: (
        Literal[
            "customer_unknown", "no_subscription", "subscription_ended", "subscription_paused", "in_trial", "no_price"
        ]
        | None
    )

    @classmethod
    def of(cls, outcome: MeterOutcome, event: StoredEvent) -> Self:
        rollup = outcome.rollup
        return cls(
            meter_id=outcome.meter.id,
            meter_version=outcome.meter.version,
            aggregation=outcome.meter.aggregation.type.value,
            counted=outcome.reason is None,
            value=outcome.text,
            multiplier=outcome.meter.multiplier,
            reason=outcome.reason,
            filter=None if outcome.unmet is None else FilterOut.of(outcome.unmet),
            hour=event.timestamp.replace(minute=0, second=0, microsecond=0),
            rollup=None
            if rollup is None
            else EventRollupOut(build=rollup.build, watermark=rollup.watermark, is_current=outcome.rollup_is_current),
            billing=[EventBillingOut.of(each) for each in outcome.billing],
            unbilled_because=outcome.unbilled_because,
        )


class EventCopyOut(Model):
    """What was received under the identity as well, and where it differs."""

    event_id: str
    customer_id: str
    timestamp: Instant
    ingested_at: Instant
    source: str
    status: EventStatusName
    differences: list[DifferenceOut]

    @classmethod
    def of(cls, copy: Copy) -> Self:
        event = copy.event
        names = ("event_id", "customer_id", "timestamp", "ingested_at", "source")
        return cls(
            **{name: getattr(event, name) for name in names},
            status=event.status.value,
            differences=[DifferenceOut.of(each) for each in copy.differences],
        )


class EventCorrectionOut(Model):
    """Who took the event out, when and why; `corrected_identity` is the event that took its place."""

    id: str
    action: Literal["void", "amend"]
    reason: str
    actor: str
    requested_at: Instant
    applied_at: Instant | None
    corrected_identity: str | None


class ExplainedEventOut(Model):
    """One identity: the event that holds it, what else came under it, and what meters make of it."""

    event: StoredEventOut
    copies: list[EventCopyOut]
    correction: EventCorrectionOut | None
    amends: str | None = Field(description="The identity of the event whose place this one took.")
    meters: list[EventMeterOut]

    @classmethod
    def of(cls, explained: EventExplained) -> Self:
        made = explained.correction
        return cls(
            event=StoredEventOut.of(explained.event),
            copies=[EventCopyOut.of(each) for each in explained.copies],
            correction=None
            if made is None
            else EventCorrectionOut(
                id=made.id,
                action=made.action,
                reason=made.reason,
                actor=made.actor,
                requested_at=made.requested_at,
                applied_at=made.applied_at,
                corrected_identity=explained.corrected_identity,
            ),
            amends=explained.amends,
            meters=[EventMeterOut.of(each, explained.event) for each in explained.meters],
        )


class EventExplanationOut(Model):
    """Every event of this id, one for each identity; what came after `reconciled_until` was compared just now."""

    event_id: str
    reconciled_until: Instant
    events: list[ExplainedEventOut]

    @classmethod
    def of(cls, explanation: Explanation) -> Self:
        return cls(
            event_id=explanation.event_id,
            reconciled_until=explanation.reconciled_until,
            events=[ExplainedEventOut.of(each) for each in explanation.events],
        )


_AMENDMENT: dict[str, JsonValue] = {"reason": "Tokens were counted twice.", "properties": {"tokens": 6.25}}


class VoidIn(Model):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "Sent by a load test."}]})

    reason: Reason
    identity: Identifier | None = Field(default=None, description="Which one, where several have this event_id.")


class AmendIn(Model):
    """The fields that should have been sent otherwise. `properties` replace all properties of the event."""

    model_config = ConfigDict(json_schema_extra={"examples": [_AMENDMENT]})

    reason: Reason
    identity: Identifier | None = Field(default=None, description="Which one, where several have this event_id.")
    event_name: EventName | None = None
    customer_id: Identifier | None = None
    timestamp: Instant | None = None
    properties: dict[str, Any] | None = None


class CorrectionOut(Model):
    """The correction is carried out: the next usage answer knows it."""

    id: str
    event_id: str
    identity: str
    action: Literal["void", "amend"]
    reason: str
    requested_at: Instant
    corrected_identity: str | None = Field(description="The identity of the event that took the place.")

    @classmethod
    def of(cls, correction: Correction) -> Self:
        record = correction.record
        return cls(
            id=record.id,
            event_id=record.event_id,
            identity=correction.identity,
            action=record.action,
            reason=record.reason,
            requested_at=record.requested_at,
            corrected_identity=correction.corrected_identity,
        )


AMEND_BODY: dict[str, dict[str, Any]] = {
    Form.JSON.value: {"schema": {"$ref": "#/components/schemas/AmendIn"}, "example": _AMENDMENT}
}
"""What amending reads: media type -> schema and example."""
