"""What stands for an invoice as it says it, for those who compare two forms of one."""

from decimal import Decimal
from operator import attrgetter
from typing import NamedTuple

from billing.adjustments.adjust import AppliedDiscount, AppliedTax
from billing.adjustments.credit import Drawn
from billing.invoice import content_hash
from ledger.store.invoices import InvoiceRecord, LineRecord

__all__ = ["invoice_hash"]


class _Said(NamedTuple):
    """The fields of an invoice by the names under which they are hashed."""

    inputs_hash: str | None
    code_version: str | None
    currency: str
    subtotal: Decimal
    discounts: tuple[AppliedDiscount, ...]
    discount_total: Decimal
    taxes: tuple[AppliedTax, ...]
    tax_total: Decimal
    total: Decimal
    credits: tuple[Drawn, ...]
    credits_applied: Decimal
    amount_due: Decimal
    lines: tuple[LineRecord, ...]


_of = attrgetter(*_Said._fields)


def invoice_hash(invoice: InvoiceRecord) -> str:
    """Stands for what an invoice says: its amounts, its lines, and what they were made from."""
    return content_hash(_Said._make(_of(invoice)))
