"""Credit notes: what of a finalized invoice is taken back."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field

from api.schemas.common import CustomerRef, DecimalIn, DecimalOut, Instant, Model, Name, Slug, any_case
from api.schemas.invoices import LineTaxOut
from api.schemas.paging import Paging
from billing.credit_note import CreditedLine, LineAmount
from billing.exact import parse_decimal
from ledger.store.credit_notes import CreditNoteRecord
from pipelines.steps.credit_invoice import CreditNotePreview, NewCreditNote

__all__ = ["CreditNoteFilters", "CreditNoteIn", "CreditNoteOut", "CreditNotePreviewOut", "VoidCreditNoteIn"]


class CreditNoteLineIn(Model):
    """Either `amount` (gross) or `share` (of what is left of the line, above 0 and at most 1)."""

    line_id: Slug
    amount: DecimalIn | None = None
    share: DecimalIn | None = None


class CreditNoteIn(Model):
    """All that is left of the invoice, unless `amount` or `lines` say less."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"reason": "Outage on 3 December", "amount": "20.00", "settle_as": "credit"}],
        }
    )

    reason: Name
    amount: DecimalIn | None = Field(default=None, description="Gross; spread over what is left of the lines.")
    lines: list[CreditNoteLineIn] | None = Field(default=None, min_length=1, max_length=1000)
    settle_as: Annotated[Literal["credit", "refund"], any_case()] = Field(
        default="credit", description="What becomes of money that was paid already."
    )

    def new_note(self, invoice_id: str) -> NewCreditNote:
        return NewCreditNote(
            invoice_id,
            self.reason,
            None if self.amount is None else parse_decimal(self.amount, "amount"),
            None if self.lines is None else [_item(line, f"lines[{at}]") for at, line in enumerate(self.lines)],
            self.settle_as,
        )


def _item(line: CreditNoteLineIn, at: str) -> LineAmount:
    return LineAmount(
        line.line_id,
        None if line.amount is None else parse_decimal(line.amount, f"{at}.amount"),
        None if line.share is None else parse_decimal(line.share, f"{at}.share"),
    )


class VoidCreditNoteIn(Model):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "Issued for the wrong invoice"}]})

    reason: Annotated[Name, Field(max_length=500)]


class CreditNoteLineOut(Model):
    line_id: str
    amount: DecimalOut = Field(description="Gross.")
    net: DecimalOut = Field(description="Less the taxes that come on top.")
    taxes: list[LineTaxOut]

    @classmethod
    def of(cls, line: CreditedLine) -> Self:
        return cls(
            line_id=line.line_id,
            amount=line.amount,
            net=line.net,
            taxes=[LineTaxOut(tax_rate_id=tax.id, amount=tax.amount) for tax in line.taxes],
        )


class CreditNotePreviewOut(Model):
    """What a credit note would say now. Nothing was written."""

    invoice_id: str
    currency: str
    total: DecimalOut
    pre_payment: DecimalOut = Field(description="What it takes off the amount that is still due.")
    credit_returned: DecimalOut = Field(description="What goes back to the grants that paid the invoice.")
    paid_back: DecimalOut = Field(description="What has been paid and is given back.")
    lines: list[CreditNoteLineOut]

    @classmethod
    def of(cls, preview: CreditNotePreview) -> Self:
        return cls(
            invoice_id=preview.invoice.id,
            currency=preview.invoice.currency.lower(),
            total=preview.total,
            pre_payment=preview.settlement.pre_payment,
            credit_returned=preview.settlement.credit_returned,
            paid_back=preview.settlement.paid_back,
            lines=_lines(preview.lines),
        )


class CreditNoteOut(Model):
    id: str
    credit_note_number: str
    invoice_id: str
    customer_id: str
    status: Literal["issued", "void"]
    reason: str
    currency: str
    total: DecimalOut = Field(description="Gross: taxes included.")
    tax_total: DecimalOut
    pre_payment: DecimalOut = Field(description="What it took off the amount that was still due.")
    credit_returned: DecimalOut = Field(description="What went back to the grants that paid the invoice.")
    paid_back: DecimalOut = Field(description="What had been paid, and became credit or is to be refunded.")
    settle_as: Literal["credit", "refund"]
    lines: list[CreditNoteLineOut]
    voided_at: Instant | None
    void_reason: str | None
    created_at: Instant

    @classmethod
    def of(cls, record: CreditNoteRecord) -> Self:
        values = {name: value for name, value in vars(record).items() if name != "number"}
        values |= {"currency": record.currency.lower(), "lines": _lines(record.lines)}
        return cls(credit_note_number=record.number, **values)


class CreditNoteFilters(Paging):
    invoice_id: Slug | None = None
    customer_id: CustomerRef | None = None


def _lines(lines: Sequence[CreditedLine]) -> list[CreditNoteLineOut]:
    return [CreditNoteLineOut.of(line) for line in lines]
