"""Tax rates, and what an invoice says of the taxes and discounts that it was made with."""

from typing import Any, Self

from pydantic import ConfigDict, Field, StrictBool

from api.schemas.common import DecimalIn, DecimalOut, Instant, LongText, Model, Name, ShortName
from billing.adjustments.adjust import AppliedTax
from billing.exact import parse_decimal
from ledger.store.tax_rates import TaxRateRecord

__all__ = ["AppliedTaxOut", "TaxRateIn", "TaxRateOut"]


class TaxRateIn(Model):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "VAT", "percentage": "19", "inclusive": False, "jurisdiction": "DE"}],
        }
    )

    name: ShortName
    percentage: DecimalIn = Field(description="From 0 to 100. It never changes: archive the rate and make another.")
    inclusive: StrictBool = Field(default=False, description="Whether prices hold the tax; else it comes on top.")
    jurisdiction: Name | None = None
    description: LongText | None = None

    def terms(self) -> dict[str, Any]:
        """The fields with the percentage inside the bounds of a decimal."""
        return {**self.model_dump(), "percentage": parse_decimal(self.percentage, "percentage")}


class TaxRateOut(Model):
    id: str
    name: str
    percentage: DecimalOut
    inclusive: bool
    jurisdiction: str | None
    description: str | None
    status: str
    created_at: Instant

    @classmethod
    def of(cls, record: TaxRateRecord) -> Self:
        return cls.model_validate(record, from_attributes=True)


class AppliedTaxOut(Model):
    """One rate on an invoice: one amount for the whole of it."""

    tax_rate_id: str
    name: str
    percentage: DecimalOut
    inclusive: bool
    taxable: DecimalOut = Field(description="What the tax is counted on: after discounts, without inclusive taxes.")
    amount: DecimalOut

    @classmethod
    def of(cls, tax: AppliedTax) -> Self:
        return cls(
            tax_rate_id=tax.terms.id,
            name=tax.terms.name,
            percentage=tax.terms.percentage,
            inclusive=tax.terms.inclusive,
            taxable=tax.taxable,
            amount=tax.amount,
        )
