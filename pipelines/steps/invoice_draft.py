"""What a finalized invoice has to look like at the provider, and whether a draft over there does. Pure."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from billing.adjustments.split import added
from billing.exact import EXACT
from billing.invoice import content_hash
from billing.money import format_decimal
from billing.ports import OUR_INVOICE, NewInvoice, NewInvoiceLine, ProviderInvoice, ProviderInvoiceLine
from billing.scope import Scope
from ledger.store.invoices import InvoiceRecord, LineRecord

# Stripe takes 250 items an invoice; the lines beyond are summed into one, ours keeps them all.
MOST_LINES = 240
LINES_PER_CALL = 100


def request_of(scope: Scope, invoice: InvoiceRecord, customer_id: str, days_until_due: int) -> dict[str, Any]:
    """The draft to ask for, as it is kept in the mapping; `customer_id` is the provider's."""
    sends = invoice.collection_method == "send_invoice"
    return {
        "customer_id": customer_id,
        "currency": invoice.currency,
        "collection_method": invoice.collection_method,
        "days_until_due": days_until_due if sends else None,
        "number": invoice.number,
        "metadata": {
            OUR_INVOICE: invoice.id,
            "tenant": scope.tenant_id,
            "environment": scope.environment_id,
            "content_hash": content_hash([(line.line_id, line.amount) for line in lines_of(invoice)]),
        },
    }


def new_invoice(request: dict[str, Any]) -> NewInvoice:
    return NewInvoice(**request)


def lines_of(invoice: InvoiceRecord) -> list[NewInvoiceLine]:
    """The lines to send, at most 240 and those that taxes and credits take; each says its quantity, since a line with
    an amount of its own takes none. They sum to what is asked for in money.

    Discounts are in the lines' amounts, so are inclusive taxes; each other tax is a line of its own, and what credits
    pay, or what becomes credit because the total is below zero, is one more.
    """
    kept = invoice.lines if len(invoice.lines) <= MOST_LINES else invoice.lines[: MOST_LINES - 1]
    rest = invoice.lines[len(kept) :]
    lines = [NewInvoiceLine(line.id, _described(line), _discounted(line), line.period) for line in kept]
    if rest:
        amount = added(map(_discounted, rest), invoice.currency)
        lines.append(NewInvoiceLine(f"{invoice.id}:rest", f"{len(rest)} more lines", amount, invoice.period))
    for tax in invoice.taxes:
        if not tax.terms.inclusive and tax.amount != 0:
            name = f"{tax.terms.name} {format_decimal(tax.terms.percentage)}%"
            lines.append(NewInvoiceLine(f"{invoice.id}:{tax.terms.id}", name, tax.amount, invoice.period))
    settled = EXACT.subtract(invoice.amount_to_collect, added((line.amount for line in lines), invoice.currency))
    if settled != 0:
        name = "Credit applied" if settled < 0 else "Kept as credit"
        lines.append(NewInvoiceLine(f"{invoice.id}:credit", name, settled, invoice.period))
    return lines


def batches(lines: Sequence[NewInvoiceLine]) -> Iterator[tuple[int, Sequence[NewInvoiceLine]]]:
    """Numbered calls' worth of lines, the same ones each time."""
    for number, start in enumerate(range(0, len(lines), LINES_PER_CALL)):
        yield number, lines[start : start + LINES_PER_CALL]


def difference(
    invoice: InvoiceRecord,
    request: dict[str, Any],
    seen: ProviderInvoice,
    seen_lines: Sequence[ProviderInvoiceLine],
) -> str | None:
    """Why the provider's invoice must not be finalized: how it differs from ours, or None (promise S2)."""
    if seen.currency != invoice.currency.upper():
        return f"currency_differs: {seen.currency} there, {invoice.currency} here"
    if seen.customer_id != request["customer_id"]:
        return f"customer_differs: {seen.customer_id} there, {request['customer_id']} here"
    asked = invoice.amount_to_collect
    if seen.total != asked or seen.subtotal != asked:
        return f"total_differs: {format_decimal(seen.total)} there, {format_decimal(asked)} here"
    wanted = sorted((line.line_id, line.amount) for line in lines_of(invoice))
    there = sorted((line.line_id or "", line.amount) for line in seen_lines)
    if wanted != there:
        return f"lines_differ: {len(there)} there, {len(wanted)} here, or other amounts"
    return None


def _discounted(line: LineRecord) -> Decimal:
    return EXACT.subtract(line.amount, line.discount)


def _described(line: LineRecord) -> str:
    if line.is_adjustment or (line.price_type != "usage" and line.quantity == 1):
        return line.display_name
    return f"{line.display_name} ({format_decimal(line.quantity)})"
