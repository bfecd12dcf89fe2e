"""Customers: whom usage and invoices belong to."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, StringConstraints

from api.schemas.common import CurrencyIn, CustomerRef, Instant, Metadata, Model, Name, TimezoneName
from ledger.store.customers import CustomerRecord
from pipelines.steps.create_customer import NewCustomer

__all__ = ["CustomerIn", "CustomerOut"]

Email = Annotated[str, StringConstraints(min_length=3, max_length=320, pattern=r"^[^@\s]+@[^@\s]+$")]


class CustomerIn(Model):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Acme Corporation",
                    "email": "billing@acme.com",
                    "customer_id": "acme_corp_001",
                    "metadata": {"company_size": "enterprise", "industry": "technology"},
                }
            ]
        }
    )

    name: Name
    email: Email | None = None
    customer_id: CustomerRef | None = Field(
        default=None, description="Your own id, the one that events carry. Ours when left out. It never changes."
    )
    currency: CurrencyIn | None = None
    timezone: TimezoneName | None = None
    metadata: Metadata = Field(default_factory=dict)

    def new_customer(self) -> NewCustomer:
        return NewCustomer(self.name, self.email, self.customer_id, self.currency, self.timezone, self.metadata)


class CustomerOut(Model):
    id: str
    customer_id: str = Field(description="Your own id.")
    name: str
    email: str | None
    status: str
    currency: str | None
    timezone: str | None
    metadata: dict[str, str]
    created_at: Instant

    @classmethod
    def of(cls, record: CustomerRecord) -> Self:
        return cls(
            id=record.id,
            customer_id=record.external_id,
            name=record.name,
            email=record.email,
            status=record.status,
            currency=record.currency,
            timezone=record.timezone,
            metadata=record.metadata,
            created_at=record.created_at,
        )
