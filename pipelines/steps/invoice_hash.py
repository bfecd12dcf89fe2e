"""What stands for an invoice as it says it, for those who compare two forms of one."""

from billing.invoice import content_hash
from ledger.store.invoices import InvoiceRecord

__all__ = ["invoice_hash"]


def invoice_hash(invoice: InvoiceRecord) -> str:
    """Stands for what an invoice says: its amounts, its lines, and what they were made from."""
    return content_hash(
        {
            "inputs_hash": invoice.inputs_hash,
            "code_version": invoice.code_version,
            "currency": invoice.currency,
            "subtotal": invoice.subtotal,
            "discounts": invoice.discounts,
            "discount_total": invoice.discount_total,
            "taxes": invoice.taxes,
            "tax_total": invoice.tax_total,
            "total": invoice.total,
            "credits": invoice.credits,
            "credits_applied": invoice.credits_applied,
            "amount_due": invoice.amount_due,
            "lines": invoice.lines,
        }
    )
