"""Which of Stripe's objects stands for which row of ours, and how far it has come."""

from typing import Annotated, Literal, Self

from pydantic import Field

from api.schemas.common import CustomerRef, Instant, Model, any_case
from api.schemas.paging import Paging
from ledger.store.mappings import MappingRecord

__all__ = ["MappingFilters", "MappingOut"]

Entity = Literal["credit_note", "customer", "invoice", "payment", "plan", "price", "refund", "subscription"]
State = Literal["intended", "created", "finalized", "done", "failed"]


class MappingFilters(Paging):
    entity: Annotated[Entity, any_case()] | None = None
    entity_id: Annotated[CustomerRef | None, Field(description="Our id, such as `inv_…`.")] = None
    provider_id: Annotated[CustomerRef | None, Field(description="Stripe's id, such as `in_…`.")] = None
    state: Annotated[State, any_case()] | None = None


class MappingOut(Model):
    """`state`: intended (nothing is there yet), created (a draft), finalized, done, or failed with `last_error`."""

    id: str
    connection_id: str
    entity: Entity
    entity_id: str
    provider_id: str | None
    provider_status: str | None = Field(description="What Stripe's object was when it was last looked at.")
    state: State
    last_error: str | None
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, record: MappingRecord) -> Self:
        return cls(
            id=record.id,
            connection_id=record.connection_id,
            entity=record.entity,
            entity_id=record.entity_id,
            provider_id=record.provider_id,
            provider_status=record.detail.get("status"),
            state=record.state,
            last_error=record.last_error,
            created_at=record.created_at,
            updated_at=record.updated_at,
        )
