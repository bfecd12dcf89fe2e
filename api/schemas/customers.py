"""Customers: whom usage and invoices belong to."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, StrictBool, StringConstraints

from api.schemas.common import CurrencyIn, CustomerRef, Instant, Metadata, Model, Name, TaxRateIds, TimezoneName
from ledger.store.customers import CustomerRecord
from pipelines.steps.create_customer import NewCustomer

__all__ = ["CustomerChangesIn", "CustomerIn", "CustomerOut"]

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
    tax_exempt: StrictBool = Field(default=False, description="Whether no tax is ever charged.")
    tax_rate_ids: TaxRateIds = Field(default=(), description="The rates of the customer's invoices, in their order.")

    def new_customer(self) -> NewCustomer:
        return NewCustomer(
            self.name,
            self.email,
            self.customer_id,
            self.currency,
            self.timezone,
            self.metadata,
            tax_exempt=self.tax_exempt,
            tax_rate_ids=self.tax_rate_ids,
        )


class CustomerChangesIn(Model):
    """What is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"tax_exempt": True}]})

    tax_exempt: StrictBool | None = None
    tax_rate_ids: TaxRateIds | None = Field(default=None, description="Instead of those that are set; [] for none.")


class CustomerOut(Model):
    id: str
    customer_id: str = Field(description="Your own id.")
    name: str
    email: str | None
    status: str
    currency: str | None
    timezone: str | None
    tax_exempt: bool
    tax_rate_ids: list[str]
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
            tax_exempt=record.tax_exempt,
            tax_rate_ids=list(record.tax_rate_ids),
            metadata=record.metadata,
            created_at=record.created_at,
        )
