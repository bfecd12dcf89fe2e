"""Ratings again of final periods: what to rate, what differs, and what is to become of it."""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field

from api.schemas.common import CustomerRef, DecimalOut, Instant, LongText, Model, Name, Slug, any_case
from api.schemas.paging import Paging
from billing.line_adjustment import AdjustmentState, Treatment
from ledger.store.rerates import DifferenceRecord, RerateRecord
from pipelines.steps.request_rerate import AppliedRerate, ApplyWanted, Difference

__all__ = [
    "AppliedRerateOut",
    "ApplyRerateIn",
    "DifferenceFilters",
    "DifferenceOut",
    "RerateDetailOut",
    "RerateFailureOut",
    "RerateFilters",
    "RerateIn",
    "RerateOut",
    "RerateSumOut",
]

RerateStatus = Annotated[Literal["running", "done"], any_case()]
_Ids = Annotated[list[Slug], Field(max_length=200)]


class RerateIn(Model):
    """Days are UTC days, both included, in which the periods end."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "first_day": "2024-01-20",
                    "last_day": "2024-02-20",
                    "customer_id": "acme_corp_001",
                    "prices_at": "2024-03-01T00:00:00Z",
                }
            ]
        }
    )

    first_day: date
    last_day: date | None = Field(default=None, description="The first day when left out.")
    customer_id: CustomerRef | None = None
    subscription_id: Slug | None = None
    meter_id: Slug | None = Field(default=None, description="Only lines that this meter counts.")
    price_versions: Annotated[dict[Slug, Annotated[int, Field(ge=1, le=2**31 - 1)]], Field(max_length=50)] = Field(
        default_factory=dict, description="Rates a price by this version of it.", examples=[{"price_1": 3}]
    )
    prices_at: Instant | None = Field(
        default=None,
        description="Rates all other prices by the versions in force then. Left out, each line keeps its own.",
    )


class RerateFilters(Paging):
    status: RerateStatus | None = None


class RerateOut(Model):
    id: str
    status: RerateStatus
    first_day: date
    last_day: date
    customer_id: str | None = Field(description="Our id.")
    subscription_id: str | None
    meter_id: str | None
    price_versions: dict[str, int]
    prices_at: Instant | None
    invoices: int = Field(description="How many final invoices were rated so far.")
    lines: int
    differences: int = Field(description="How many of the lines come to something else.")
    watermark: Instant | None = Field(description="Events received up to here count.")
    requested_at: Instant
    finished_at: Instant | None

    @classmethod
    def of(cls, record: RerateRecord) -> Self:
        return cls(**{name: getattr(record, name) for name in RerateOut.model_fields})


class RerateFailureOut(Model):
    invoice_id: str
    code: str
    detail: str


class RerateSumOut(Model):
    currency: str
    lines: int
    difference: DecimalOut = Field(description="Due less billed, over all lines that differ.")


class RerateDetailOut(RerateOut):
    sums: list[RerateSumOut]
    failures: list[RerateFailureOut] = Field(description="Invoices that could not be rated; the others were.")


class DifferenceFilters(Paging):
    invoice_id: Slug | None = None


class DifferenceAdjustmentOut(Model):
    """What was made of a difference."""

    id: str
    amount: DecimalOut
    state: AdjustmentState
    carried_by_invoice_id: str | None
    credit_note_id: str | None
    held_because: str | None


class DifferenceOut(Model):
    """A line of a final invoice that comes to something else."""

    invoice_id: str
    invoice_number: str | None
    line_id: str
    display_name: str
    customer_id: str = Field(description="The id that you gave the customer.")
    subscription_id: str
    period_start: Instant
    period_end: Instant
    price_id: str
    billed_price_version: int
    price_version: int
    billed_quantity: DecimalOut
    quantity: DecimalOut
    currency: str
    billed: DecimalOut = Field(description="What was billed of the line, adjustments included.")
    due: DecimalOut = Field(description="What it comes to. Both are less discounts, without taxes on top.")
    difference: DecimalOut
    adjustment: DifferenceAdjustmentOut | None = Field(description="Null until the difference is applied.")

    @classmethod
    def of(cls, one: Difference) -> Self:
        found, made = one.found, one.adjustment
        return cls(
            invoice_id=found.invoice_id,
            invoice_number=found.invoice_number,
            line_id=found.line_id,
            display_name=found.display_name,
            customer_id=found.customer_id,
            subscription_id=found.subscription_id,
            period_start=found.period.start,
            period_end=found.period.end,
            price_id=found.price_id,
            billed_price_version=found.billed_version,
            price_version=found.price_version,
            billed_quantity=found.billed_quantity,
            quantity=found.quantity,
            currency=found.currency.lower(),
            billed=found.billed,
            due=found.due,
            difference=found.amount,
            adjustment=None
            if made is None
            else DifferenceAdjustmentOut(
                id=made.id,
                amount=made.amount,
                state=made.state,
                carried_by_invoice_id=made.carried_by,
                credit_note_id=made.credit_note_id,
                held_because=made.held_because,
            ),
        )

    @classmethod
    def unchanged(cls, found: DifferenceRecord) -> Self:
        return cls.of(Difference(found, None))


class ApplyRerateIn(Model):
    """What is to be billed of it: the lines or invoices that are named, everything that differs where none is."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "person": "Dana Smith",
                    "reason": "The discount agreed in January, ticket 4711",
                    "invoice_ids": ["inv_01HMJ0G200ABCDEFGHJKMNPQRS"],
                    "treatment": "credit_note",
                }
            ]
        }
    )

    person: Annotated[Name, Field(description="Who decides this: a person's name.")]
    reason: Annotated[LongText, Field(min_length=1, max_length=1000, description="Kept in the audit log.")]
    invoice_ids: _Ids = Field(default_factory=list)
    line_ids: _Ids = Field(default_factory=list)
    treatment: Annotated[Treatment, any_case()] | None = Field(
        default=None, description="How it is billed; left out, as the environment has it."
    )

    def wanted(self) -> ApplyWanted:
        return ApplyWanted(self.person, self.reason, self.invoice_ids, self.line_ids, self.treatment)


class AppliedRerateOut(Model):
    """What one call has done."""

    applied: list[DifferenceOut] = Field(description="Applied by this call, each with its adjustment.")
    changed: list[DifferenceOut] = Field(
        description="Chosen and left alone, because the line comes to something else by now: rate it again."
    )
    left: int = Field(description="Chosen differences beyond what one call applies: call again.")

    @classmethod
    def of(cls, done: AppliedRerate) -> Self:
        return cls(
            applied=[DifferenceOut.of(each) for each in done.applied],
            changed=[DifferenceOut.unchanged(each) for each in done.changed],
            left=done.left,
        )
