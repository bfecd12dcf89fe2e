"""What becomes of a subscription: the changes that can be asked for, and its history."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema

from api.schemas.common import CollectionMethod, DecimalIn, Instant, LongText, Metadata, Model, Name, Slug, read_instant
from api.schemas.prices import PriceTerms
from billing.exact import ZERO, parse_decimal
from billing.price import PRICE_FIELDS
from billing.subscription import in_force
from ledger.store.subscription_changes import ChangeRecord
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps.change_subscription import Effective, SubscriptionChanges, When
from pipelines.steps.subscription_terms import NewOverride, NewQuantity

__all__ = [
    "ChangeIn",
    "ChangeOut",
    "ChangePlanIn",
    "OverrideBody",
    "QuantityBody",
    "ReasonIn",
    "SubscriptionChangesIn",
    "new_overrides",
    "new_quantities",
]

_NAMED = ("now", "period_end")


def _read_effective(value: Any) -> Any:
    if isinstance(value, str) and value.lower() in _NAMED:
        return value.lower()
    return read_instant(value)


Moment = Annotated[
    Literal["now", "period_end"] | datetime,
    BeforeValidator(_read_effective),
    WithJsonSchema(
        {
            "anyOf": [{"enum": [*_NAMED]}, {"type": "string", "format": "date-time"}],
            "description": "From when it holds: now, the end of the running period, or a moment. It may lie in the "
            "future, or in the past where no invoice is final yet.",
        }
    ),
]


class ReasonIn(Model):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "the customer stays"}]})

    reason: LongText | None = Field(default=None, description="For the history and the audit log.")

    def when(self, actor: str, now: datetime, effective: Effective = "now") -> When:
        return When(effective, self.reason, actor, now)


class ChangeIn(ReasonIn):
    model_config = ConfigDict(json_schema_extra={"examples": [{"effective": "period_end", "reason": "as agreed"}]})

    effective: Moment = "now"

    def when(self, actor: str, now: datetime, effective: Effective | None = None) -> When:
        return super().when(actor, now, effective or self.effective)


class QuantityBody(Model):
    """Seats: how many times a flat price of the plan is due."""

    price_id: Slug
    quantity: DecimalIn = Field(description="From 0 on.")


class OverrideBody(Model):
    """Other terms for one price of the plan, in this subscription alone."""

    price_id: Slug = Field(description="A price of the plan.")
    price: PriceTerms | None = Field(
        description="The fields that differ from the plan's price, null to take one away; null instead of the object "
        "ends the override."
    )
    display_name: Name | None = Field(default=None, description="On invoices; the price's own if absent.")


Quantities = Annotated[list[QuantityBody], Field(max_length=100)]
Overrides = Annotated[list[OverrideBody], Field(max_length=100)]


class ChangePlanIn(ChangeIn):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"plan_id": "enterprise_plan", "effective": "2026-02-15T00:00:00Z"}]}
    )

    plan_id: Slug = Field(description="A plan's id or key, of the same currency and billing period.")
    quantities: Quantities = Field(default_factory=list, description="Seats of the new plan's prices.")


class SubscriptionChangesIn(ChangeIn):
    """What is left out stays. `effective` is for quantities and price_overrides; the rest holds at once."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"metadata": {"contract_id": "CNT-2024-002"}, "effective": "now"}, {"end_date": None}]
        }
    )

    quantities: Quantities = Field(default_factory=list)
    price_overrides: Overrides = Field(default_factory=list)
    end_date: Instant | None = Field(default=None, description="null takes the end away.")
    collection_method: CollectionMethod | None = None
    metadata: Metadata | None = Field(default=None, description="Replaces all of it.")

    def changes(self) -> SubscriptionChanges:
        return SubscriptionChanges(
            quantities=new_quantities(self.quantities),
            overrides=new_overrides(self.price_overrides),
            ends="end_date" in self.model_fields_set,
            end_date=self.end_date,
            collection_method=self.collection_method,
            metadata=self.metadata,
        )


class ChangeOut(Model):
    """An entry of the history. `values` are those of its kind; `withdrawn` says that a later entry took it back."""

    sequence: int
    kind: str
    effective_at: Instant
    values: dict[str, JsonValue]
    withdraws: int | None = Field(description="The entry that this one takes back.")
    withdrawn: bool
    reason: str | None
    actor: str
    created_at: Instant

    @classmethod
    def of(cls, change: ChangeRecord, subscription: SubscriptionRecord) -> Self:
        return cls(
            sequence=change.sequence,
            kind=change.kind.value,
            effective_at=change.effective_at,
            values=dict(change.values),
            withdraws=change.withdraws,
            withdrawn=change.withdraws is None and change not in in_force(subscription.history),
            reason=change.reason,
            actor=change.actor,
            created_at=change.created_at,
        )


def new_quantities(bodies: list[QuantityBody]) -> list[NewQuantity]:
    """Errors: InvalidInput `out_of_range` below `quantities[i]`."""
    return [
        NewQuantity(body.price_id, parse_decimal(body.quantity, f"quantities[{index}].quantity", minimum=ZERO))
        for index, body in enumerate(bodies)
    ]


def new_overrides(bodies: list[OverrideBody]) -> list[NewOverride]:
    return [NewOverride(body.price_id, _terms(body.price), body.display_name) for body in bodies]


def _terms(price: PriceTerms | None) -> dict[str, Any] | None:
    """What was sent, null included."""
    if price is None:
        return None
    sent = {**dict.fromkeys(price.model_fields_set), **price.model_dump(exclude_unset=True)}
    return {name: value for name, value in sent.items() if name in PRICE_FIELDS}
