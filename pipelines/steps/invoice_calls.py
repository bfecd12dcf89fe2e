"""The calls that bring one invoice to the provider, each under the key that names it; what their errors mean is for the
caller to say."""

from collections.abc import Iterator, Sequence

from billing.ports import NewInvoiceLine, ProviderInvoice, ProviderInvoiceLine, ProviderInvoiceStatus
from ledger.store.invoices import InvoiceRecord
from ledger.store.mappings import MappingRecord
from pipelines.steps import invoice_draft
from pipelines.steps.connections import Link
from pipelines.steps.provider_mapping import guarded

__all__ = ["finalize", "leave_alone", "lines_of", "make", "missing_lines", "start_collecting"]


def make(link: Link, invoice: InvoiceRecord, mapping: MappingRecord) -> ProviderInvoice:
    """The empty draft that the mapping asks for, with its discounts."""
    request, version = mapping.detail["request"], mapping.key_version
    for coupon in invoice_draft.coupons_of(invoice, invoice_draft.form_of(request)):
        link.gateway.ensure_coupon(coupon, f"inv:{invoice.id}:coupon:{coupon.id}:{version}")
    return link.gateway.create_invoice(invoice_draft.new_invoice(request), f"inv:{invoice.id}:create:{version}")


def missing_lines(
    invoice: InvoiceRecord, mapping: MappingRecord, there: Sequence[ProviderInvoiceLine]
) -> Iterator[tuple[str, Sequence[NewInvoiceLine]]]:
    """The lines that are not there yet: a call's worth of them at a time, with the key of the call."""
    present = {line.line_id for line in there}
    form = invoice_draft.form_of(mapping.detail["request"])
    for number, lines in invoice_draft.batches(invoice_draft.lines_of(invoice, form)):
        if not present & {line.line_id for line in lines}:
            yield f"inv:{invoice.id}:lines:{mapping.key_version}:{number}", lines


def lines_of(link: Link, seen: ProviderInvoice) -> Sequence[ProviderInvoiceLine]:
    """All lines of the provider's invoice, asked for where the answer did not hold them."""
    return link.gateway.get_invoice_lines(seen.id, seen.currency) if seen.lines is None else seen.lines


def finalize(link: Link, mapping: MappingRecord, auto_advance: bool) -> ProviderInvoice:
    """The draft, open."""
    draft_id = mapping.provider_id or ""
    return guarded(
        lambda key: link.gateway.finalize_invoice(draft_id, auto_advance, key),
        f"inv:{mapping.entity_id}:finalize:{mapping.key_version}",
    )


def leave_alone(link: Link, mapping: MappingRecord, seen: ProviderInvoice) -> None:
    """Nobody is to pay an open invoice that is not ours any more: it is not collected, and people have to look."""
    if seen.status == ProviderInvoiceStatus.OPEN and seen.auto_advance:
        guarded(
            lambda key: link.gateway.set_auto_advance(seen.id, False, key),
            f"inv:{mapping.entity_id}:leave:{mapping.key_version}",
        )


def start_collecting(
    link: Link, invoice: InvoiceRecord, mapping: MappingRecord, seen: ProviderInvoice
) -> ProviderInvoice:
    """What remains to be done after finalizing: collect what was held back, or send what waits to be sent."""
    if seen.status != ProviderInvoiceStatus.OPEN:
        return seen
    version = mapping.key_version
    if link.provider_collects and not seen.auto_advance:
        return guarded(
            lambda key: link.gateway.set_auto_advance(seen.id, True, key), f"inv:{invoice.id}:collect:{version}"
        )
    if not link.provider_collects and invoice.collection_method == "send_invoice":
        return link.gateway.send_invoice(seen.id, f"inv:{invoice.id}:send:{version}")
    return seen
