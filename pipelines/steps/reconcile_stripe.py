"""Our books against the provider's, both ways: what is missing, what is too much, what differs in amount or state.

What the provider says about money and states is looked at again and booked, which is what its webhooks would have done;
what was never sent is sent. Those rules are safe to repeat. Everything else is for people: nothing is deleted, voided,
refunded or made up here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from billing.invoice import InvoiceStatus, PaymentStatus
from billing.money import format_decimal
from billing.ports import (
    OUR_CUSTOMER,
    OUR_INVOICE,
    ProviderInvoice,
    ProviderInvoiceStatus,
    ProviderNotFound,
    ProviderRejected,
)
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, invoices, mappings, sessions
from ledger.store.invoices import InvoiceRecord
from ledger.store.mappings import MappingRecord
from pipelines.steps import sync_customer, sync_invoice
from pipelines.steps.compare_credit_notes import compare_credit_notes
from pipelines.steps.compare_disputes import compare_disputes
from pipelines.steps.compare_refunds import compare_refunds
from pipelines.steps.comparison import JUST_MADE, PAGE, Comparison, Difference
from pipelines.steps.connections import Gateways
from pipelines.steps.follow_invoice import ENTITY, follow, is_of, received
from pipelines.steps.process_webhook import follow_session, process_due
from pipelines.steps.recover_events import recover_events

__all__ = ["Difference", "Reconciled", "reconcile_stripe"]

_EVENTS_AT_ONCE = 200


@dataclass(frozen=True)
class Reconciled:
    """How much was compared, how many events nobody had delivered, and what differed."""

    invoices: int
    customers: int
    pages: int
    credit_notes: int
    refunds: int
    missed_events: int
    differences: tuple[Difference, ...]

    @property
    def left(self) -> tuple[Difference, ...]:
        """What is for people to settle."""
        return tuple(each for each in self.differences if not each.repaired)


def reconcile_stripe(
    ledger: Ledger, gateways: Gateways, scope: Scope, since: datetime, now: datetime, *, repair: bool = True
) -> Reconciled:
    """Compares what was made since then on either side. Without `repair` nothing is written but the audit entry.

    Conflict `no_connection`, `connection_inactive`; ProviderUnavailable, ProviderRejected: run it again.
    """
    link = gateways.require(scope)
    missed = 0
    if repair:
        missed = recover_events(ledger, gateways, scope, now).missed
        while sum(vars(process_due(ledger, gateways, now, _EVENTS_AT_ONCE)).values()) == _EVENTS_AT_ONCE:
            pass
    work = _Work(ledger, scope, gateways, link, since, now, repair)
    by_customer, customers = work.customers()
    by_page, pages = work.pages()
    by_invoice, compared = work.invoices()
    # After the invoices: a refund is given back of a payment that may only now be known.
    by_refund, refunded = compare_refunds(work)
    by_note, notes = compare_credit_notes(work)
    differences = (*by_customer, *by_page, *by_invoice, *by_refund, *by_note, *compare_disputes(work))
    done = Reconciled(compared, customers, pages, notes, refunded, missed, differences)
    detail = {
        "since": since.isoformat(),
        "invoices": done.invoices,
        "credit_notes": done.credit_notes,
        "refunds": done.refunds,
        "differences": len(done.differences),
        "left": len(done.left),
        "missed_events": missed,
    }
    with ledger.begin() as session:
        audit.write(session, scope, "stripe", "stripe.reconciled", "connection", link.connection.id, detail, now)
    return done


class _Work(Comparison):
    def customers(self) -> tuple[list[Difference], int]:
        """Mapped customers that are gone over there, and customers over there that carry our id and are not mapped."""
        theirs = {each.id: each for each in self.link.gateway.list_customers(self.since)}
        mapped = {each.provider_id: each for each in self.mappings(sync_customer.ENTITY) if each.provider_id}
        found = []
        for provider_id, mapping in mapped.items():
            if provider_id not in theirs and self._customer_is_gone(provider_id):
                if self.repair:
                    sync_customer.forget(self.ledger, self.scope, self.link, provider_id, self.now)
                found.append(
                    Difference(
                        "customer_missing", "customer", mapping.entity_id, provider_id, "mapped", "gone", self.repair
                    )
                )
        for each in theirs.values():
            if is_of(self.scope, each.metadata) and not self.is_mapped(sync_customer.ENTITY, each.id):
                our_id = each.metadata.get(OUR_CUSTOMER)
                found.append(Difference("customer_extra", "customer", our_id, each.id, "not mapped", "there"))
        return found, len(mapped)

    def pages(self) -> tuple[list[Difference], int]:
        """Pages that are open here and over there are not: somebody paid or saved a card and we never heard of it."""
        found, looked = [], 0
        with self.ledger.read() as session:
            waiting = sessions.open_checkouts(session, self.scope)
        for checkout in waiting:
            if checkout.gateway_session_id is None:
                continue
            looked += 1
            try:
                seen = self.link.gateway.get_session(checkout.gateway_session_id)
            except ProviderNotFound:
                continue
            if seen.status == "open":
                continue
            if self.repair:
                follow_session(self.ledger, self.scope, self.link, seen.id, self.now)
            found.append(
                Difference("page_not_heard_of", "checkout", checkout.id, seen.id, "open", seen.status, self.repair)
            )
        return found, looked

    def invoices(self) -> tuple[list[Difference], int]:
        """Each final invoice against the provider's, and the provider's that carry our id against our mappings."""
        theirs = {each.id: each for each in self.link.gateway.list_invoices(self.since - JUST_MADE)}
        found: list[Difference] = []
        compared = 0
        for invoice in self._final_invoices():
            mapping = self.mapping(ENTITY, invoice.id)
            compared += 1
            if mapping is None or mapping.provider_id is None or mapping.state != "done":
                found += self._unsent(invoice, mapping)
                continue
            found += self._compared(invoice, mapping, theirs.get(mapping.provider_id))
        for each in theirs.values():
            if is_of(self.scope, each.metadata) and not self.is_mapped(ENTITY, each.id):
                found.append(
                    Difference(
                        "invoice_extra",
                        ENTITY,
                        each.metadata.get(OUR_INVOICE),
                        each.id,
                        "not mapped",
                        f"{each.status.value}, {format_decimal(each.total)} {each.currency}",
                    )
                )
        return found, compared

    def _unsent(self, invoice: InvoiceRecord, mapping: MappingRecord | None) -> Iterator[Difference]:
        """A final invoice that is not, or not wholly, at the provider. Sending it again never makes a second one."""
        if invoice.status != InvoiceStatus.FINALIZED or not self.link.sends_invoices:
            return
        if not self.is_settled(invoice.finalized_at or self.now):
            return
        why = "not sent" if mapping is None else mapping.last_error or mapping.state
        provider_id = None if mapping is None else mapping.provider_id
        repaired = False
        if self.repair:
            result = sync_invoice.sync(self.ledger, self.scope, self.gateways, invoice.id, self.now)
            repaired = result.outcome in {"synced", "already_synced"}
            why = result.reason or why
            provider_id = result.stripe_invoice_id or provider_id
        yield Difference(
            "invoice_not_sent", ENTITY, invoice.id, provider_id, f"finalized, {why}", "not there", repaired
        )

    def _compared(
        self, invoice: InvoiceRecord, mapping: MappingRecord, seen: ProviderInvoice | None
    ) -> Iterator[Difference]:
        provider_id = mapping.provider_id or ""
        try:
            seen = seen or self.link.gateway.get_invoice(provider_id)
        except ProviderNotFound:
            yield Difference("invoice_missing", ENTITY, invoice.id, provider_id, "mapped", "gone")
            return
        asked = invoice.amount_due
        if (seen.currency, seen.total) != (invoice.currency.upper(), asked):
            here = f"{format_decimal(asked)} {invoice.currency}"
            there = f"{format_decimal(seen.total)} {seen.currency}"
            yield Difference("invoice_amount_differs", ENTITY, invoice.id, seen.id, here, there)
        differs = state_difference(invoice, mapping, seen)
        if differs is None:
            return
        yield replace(differs, repaired=self.repair and self._settled(invoice, mapping, seen))

    def _settled(self, invoice: InvoiceRecord, mapping: MappingRecord, seen: ProviderInvoice) -> bool:
        """Looks again and books it; whether both sides say the same then."""
        try:
            now_there = follow(self.ledger, self.scope, self.link, invoice.id, seen.id, self.now)
        except ProviderRejected:
            return False
        with self.ledger.read() as session:
            ours = invoices.get_invoice(session, self.scope, invoice.id)
            held = mappings.get_mapping(session, self.scope, mapping.connection_id, ENTITY, invoice.id)
        return state_difference(ours, held or mapping, now_there) is None

    def _final_invoices(self) -> Iterator[InvoiceRecord]:
        for status in (InvoiceStatus.FINALIZED, InvoiceStatus.VOID):
            cursor = None
            while True:
                with self.ledger.read() as session:
                    page = invoices.list_invoices(session, self.scope, status=status.value, cursor=cursor, limit=PAGE)
                yield from (each for each in page.items if (each.finalized_at or self.now) >= self.since)
                cursor = page.next_cursor
                if cursor is None:
                    break

    def _customer_is_gone(self, provider_id: str) -> bool:
        try:
            return self.link.gateway.get_customer(provider_id).deleted
        except ProviderNotFound:
            return True


def state_difference(invoice: InvoiceRecord, mapping: MappingRecord, seen: ProviderInvoice) -> Difference | None:
    """How far the two sides disagree about what was paid, or what became of the invoice; None when they agree.

    What is under the minimum the provider calls paid without money, which is not what it is here.
    """
    carried = bool(mapping.detail.get("carried"))
    money = min(received(seen), invoice.amount_to_collect)
    paid_here = invoice.payment_status in {PaymentStatus.PAID, PaymentStatus.REFUNDED}
    agree = {
        ProviderInvoiceStatus.DRAFT: False,
        ProviderInvoiceStatus.OPEN: not paid_here and invoice.status == InvoiceStatus.FINALIZED,
        ProviderInvoiceStatus.PAID: carried or paid_here,
        ProviderInvoiceStatus.VOID: invoice.status == InvoiceStatus.VOID,
        ProviderInvoiceStatus.UNCOLLECTIBLE: not paid_here and invoice.status == InvoiceStatus.FINALIZED,
    }[seen.status]
    if agree and money == invoice.amount_paid and mapping.detail.get("status") == seen.status.value:
        return None
    return Difference(
        "invoice_state_differs",
        ENTITY,
        invoice.id,
        seen.id,
        _words(invoice.status.value, invoice.payment_status.value, invoice.amount_paid),
        _words(seen.status.value, "paid", money),
    )


def _words(status: str, about: str, money: Decimal) -> str:
    return f"{status}, {about} {format_decimal(money)}"
