"""All that one customer is billed in the course of time, a second time: invoices, and the credit that pays them.

Grants are drawn down from one invoice to the next, and a total below zero becomes a grant of its own.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from fractions import Fraction

from tests.support.invoice_model.invoices import Invoice, adjusted, discounts_of, unadjusted
from tests.support.invoice_model.periods import Body


def negative_name(invoice: Invoice) -> str:
    """What the credit that came of an invoice is called in a case."""
    return f"{invoice.billing_reason} {invoice.period.start.isoformat()}"


def life(
    case: Body, until: datetime, priced_at: Callable[[datetime], datetime], looks: Iterable[datetime]
) -> list[Invoice]:
    """Every invoice that falls due by `until`, priced and final at `priced_at` of the moment when it falls due; `looks`
    are all the moments at which one looks what is due."""
    before: list[Invoice] = []
    grants = [dict(grant) for grant in case.get("credits", [])]

    def adjust(invoice: Invoice) -> None:
        final_at = invoice.priced_at or invoice.due_at
        before.append(adjusted(case | {"credits": grants}, invoice, discounts_of(case, invoice, before), final_at))
        for grant_id, used in invoice.credits:
            grant = next(one for one in grants if one["id"] == grant_id)
            grant["remaining"] = str(Fraction(grant["remaining"]) - used)
        if invoice.total < 0:
            kept = {"id": negative_name(invoice), "remaining": str(-invoice.total), "currency": case["currency"]}
            grants.append(kept | {"effective_at": final_at.isoformat()})

    return unadjusted(case, until, priced_at, adjust, looks)
