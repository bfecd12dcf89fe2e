"""Sends one finalized invoice to the provider: customer, draft, lines, compare, finalize, collect.

Every call is preceded by a short transaction that records what is about to be asked, and followed by one that records
what came of it. Cut off anywhere and run again, by this worker or by another at the same time, it ends with one
customer, one invoice and one set of lines (promise S1). The draft is compared with ours before it is finalized (S2).

Who collects is decided by the connection's `collection`: with "stripe" the invoice is finalized with automatic
advancement and nobody here ever calls `pay`; with "tallyhouse" `collect_invoice` charges on a schedule; with "manual"
nothing is collected until `pay_invoice` is asked to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from billing.errors import Conflict
from billing.invoice import InvoiceStatus
from billing.money import format_decimal
from billing.ports import (
    IdempotencyMismatch,
    ProviderInvoice,
    ProviderInvoiceLine,
    ProviderInvoiceStatus,
    ProviderKeyRefused,
    ProviderNotFound,
    ProviderRejected,
    ProviderUnavailable,
)
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, credit_notes, invoices, mappings
from ledger.store.invoices import InvoiceRecord
from ledger.store.mappings import MappingRecord
from pipelines.steps import (
    collect_invoice,
    invoice_calls,
    invoice_draft,
    paid_elsewhere,
    payment_link,
    provider_mapping,
    sync_credit_notes,
    sync_customer,
)
from pipelines.steps.connections import Gateways, Link
from pipelines.steps.follow_invoice import ENTITY, book, follow, says_all, seen_detail

_ROUNDS = 3


@dataclass(frozen=True)
class SyncResult:
    """`outcome` is synced, already_synced, refused (nothing was done, `reason` says why) or failed (Stripe refused)."""

    invoice_id: str
    outcome: str
    reason: str | None = None
    detail: str | None = None
    stripe_invoice_id: str | None = None
    status: str | None = None
    payment_intent_id: str | None = None
    hosted_invoice_url: str | None = None
    invoice_pdf: str | None = None


@dataclass(frozen=True)
class _Trial:
    """`fresh`: the provider's invoice was not known when this began. `first`: nobody has asked for it before under this
    version of the keys, so an answer is of now, and not what the provider once said."""

    fresh: bool
    first: bool


class _StartOver(Exception):
    pass


class _CustomerGone(Exception):
    pass


class _Failed(Exception):
    pass


class _DraftRefused(_Failed):
    """The provider did not take what the draft is made of."""


def sync(ledger: Ledger, scope: Scope, gateways: Gateways, invoice_id: str, now: datetime) -> SyncResult:
    """Sends the invoice, or says why not.

    Refused as `no_connection`, `connection_inactive`, `invoice_sync_disabled`, `customer_not_synced`,
    `invoice_not_finalized`, `invoice_void`, `no_lines`, `negative_total`, `below_minimum`, `above_maximum`,
    `amount_not_chargeable`, `amount_not_representable`, `partly_paid_elsewhere`. Failed as `total_differs: …`,
    `lines_differ: …`, `rejected: …`. NotFound `invoice_not_found`; ProviderUnavailable and ProviderKeyRefused: run it
    again, later or with another key.
    """
    with ledger.read() as session:
        invoice = invoices.get_invoice(session, scope, invoice_id)
    link = gateways.active(scope)
    if link is None:
        return SyncResult(invoice_id, "refused", gateways.missing(scope).code)
    if not link.sends_invoices:
        return SyncResult(invoice_id, "refused", "invoice_sync_disabled")
    with ledger.read() as session:
        known = mappings.get_mapping(session, scope, link.connection.id, ENTITY, invoice_id)
    if known is not None and known.state == "done":
        return result_of(known, "already_synced")
    started = known is not None and known.provider_id is not None
    reason = None if started else _why_not(ledger, scope, link, invoice)
    if reason is not None:
        return _refuse(ledger, scope, link, invoice, reason, None, now)
    try:
        customer_id = sync_customer.ensure_customer(ledger, scope, link, invoice.customer_id, now)
    except Conflict as error:
        return _refuse(ledger, scope, link, invoice, "customer_not_synced", error.detail, now)
    form = invoice_draft.natural_form(invoice)
    for _ in range(_ROUNDS):
        invoice, mapping, first = _intend(ledger, scope, link, invoice.id, customer_id, form, now)
        if mapping.state == "done":
            return result_of(mapping, "already_synced")
        trial = _Trial(fresh=mapping.provider_id is None, first=first)
        try:
            mapping = _create(ledger, scope, link, invoice, mapping, now)
            return _push(ledger, scope, link, invoice, mapping, trial, now)
        except _StartOver:
            _discard(ledger, scope, link, mapping, None, now)
        except _Failed as error:
            if isinstance(error, _DraftRefused) and form == "native" and _is_adjusted(invoice):
                # Its taxes or discounts may be what the provider does not take: as lines it takes any.
                form = "plain"
                _discard(ledger, scope, link, mapping, None, now)
                continue
            return _fail(ledger, scope, link, mapping, str(error), now)
        except _CustomerGone:
            _discard(ledger, scope, link, mapping, None, now)
            customer_id = sync_customer.replace_customer(ledger, scope, link, invoice.customer_id, customer_id, now)
    raise ProviderUnavailable("provider_failed", "the provider failed repeatedly")


def _why_not(ledger: Ledger, scope: Scope, link: Link, invoice: InvoiceRecord) -> str | None:
    reason = why_not(link, invoice)
    if reason is not None:
        return reason
    with ledger.read() as session:
        return None if paid_elsewhere.fits(session, scope, invoice) else "partly_paid_elsewhere"


def why_not(link: Link, invoice: InvoiceRecord) -> str | None:
    """Why an invoice is not one to be sent, by what it is."""
    if invoice.status == InvoiceStatus.DRAFT:
        return "invoice_not_finalized"
    if invoice.status == InvoiceStatus.VOID:
        return "invoice_void"
    if not invoice.lines:
        return "no_lines"
    too_odd = link.gateway.check_amount(invoice.amount_due, invoice.currency)
    if too_odd is not None:
        return too_odd
    for line in invoice.lines:
        if link.gateway.check_amount(abs(line.amount), invoice.currency) == "amount_not_representable":
            return "amount_not_representable"
    return None


def _intend(
    ledger: Ledger,
    scope: Scope,
    link: Link,
    invoice_id: str,
    customer_id: str,
    form: invoice_draft.Form,
    now: datetime,
) -> tuple[InvoiceRecord, MappingRecord, bool]:
    """Invoice and mapping as they are now, and whether this was the first to write down what is asked for."""
    with ledger.begin() as session:
        # Held together with the mapping: a payment link or a credit note for the invoice is either seen here, or sees
        # the mapping.
        provider_mapping.hold_invoice(session, scope, invoice_id)
        invoice = invoices.get_invoice(session, scope, invoice_id)
        known = mappings.get_mapping(session, scope, link.connection.id, ENTITY, invoice.id)
        request = invoice_draft.request_of(scope, invoice, customer_id, link.days_until_due, form)
        mapping = provider_mapping.intend(session, scope, link.connection, ENTITY, invoice.id, request, now)
        return invoice, mapping, known is None or "request" not in known.detail


def _is_adjusted(invoice: InvoiceRecord) -> bool:
    return bool(invoice.taxes or invoice.discounts)


def _push(
    ledger: Ledger,
    scope: Scope,
    link: Link,
    invoice: InvoiceRecord,
    mapping: MappingRecord,
    trial: _Trial,
    now: datetime,
) -> SyncResult:
    seen = _filled(link, invoice, mapping, trial, now)
    payment_link.close_links_of(ledger, scope, link, invoice.id, now)
    with ledger.read() as session:
        elsewhere = paid_elsewhere.of_invoice(session, scope, invoice.id)
        credited = bool(credit_notes.of_invoice(session, scope, invoice.id))
    if seen.status == ProviderInvoiceStatus.DRAFT:
        collects = link.provider_collects and not (elsewhere or credited)
        seen = _finalize(ledger, scope, link, invoice, mapping, collects, now)
    try:
        # What its own payments paid is given back by credit notes; what those take off is not paid offline.
        seen = paid_elsewhere.attach_links(link, invoice, seen, elsewhere)
        if credited:
            refused = sync_credit_notes.push_notes(ledger, scope, link, invoice.id, now)
            if refused is not None:
                raise _Failed(f"credit_note_not_sent: {refused}")
            seen = link.gateway.get_invoice(seen.id)
        seen = paid_elsewhere.settle_offline(link, invoice, seen, elsewhere)
    except ProviderKeyRefused:
        raise
    except ProviderRejected as error:
        # Collecting now could take the money twice, so the open invoice is left alone for people to look at.
        raise _Failed(f"payment_not_attached: {error.detail}") from error
    seen = invoice_calls.start_collecting(link, invoice, mapping, seen)
    if not (trial.first and says_all(seen)):
        seen = follow(ledger, scope, link, invoice.id, seen.id, now)
    with ledger.begin() as session:
        if seen.payments is not None:
            book(session, scope, link, invoice.id, seen, seen.payments, now)
        done = _record(session, scope, mapping, "done", seen, now)
        collect_invoice.begin(session, scope, link, invoice, now)
        audit.write(session, scope, "stripe", "invoice.synced", ENTITY, invoice.id, {"stripe_invoice_id": seen.id}, now)
    return result_of(done, "synced")


def _filled(
    link: Link, invoice: InvoiceRecord, mapping: MappingRecord, trial: _Trial, now: datetime
) -> ProviderInvoice:
    """The provider's invoice with all lines on it, known to equal ours."""
    draft_id = mapping.provider_id or ""
    try:
        seen = None if trial.fresh else link.gateway.get_invoice(draft_id)
        if seen is None or seen.status == ProviderInvoiceStatus.DRAFT:
            there = [] if seen is None else invoice_calls.lines_of(link, seen)
            added = _fill(link, invoice, mapping, there, now)
            seen = added if trial.first and added is not None else link.gateway.get_invoice(draft_id)
        seen_lines = invoice_calls.lines_of(link, seen)
    except ProviderNotFound:
        raise _StartOver from None
    differs = invoice_draft.difference(invoice, mapping.detail["request"], seen, seen_lines)
    if differs is not None:
        invoice_calls.leave_alone(link, mapping, seen)
        raise _Failed(differs)
    return seen


def _create(
    ledger: Ledger, scope: Scope, link: Link, invoice: InvoiceRecord, mapping: MappingRecord, now: datetime
) -> MappingRecord:
    def create(intended: MappingRecord) -> ProviderInvoice:
        try:
            return invoice_calls.make(link, invoice, intended)
        except (ProviderKeyRefused, IdempotencyMismatch):
            raise
        except ProviderRejected as error:
            if isinstance(error, ProviderNotFound) and error.provider_param == "customer":
                raise _CustomerGone from None
            if isinstance(error, ProviderNotFound) and (error.provider_param or "").startswith("discounts"):
                raise _StartOver from None
            raise _DraftRefused(f"rejected: {error.detail}") from error

    def find(intended: MappingRecord) -> ProviderInvoice | None:
        return link.gateway.find_invoice(intended.detail["request"]["customer_id"], invoice.id)

    return provider_mapping.make_once(
        ledger, scope, link.connection, mapping, create=create, find=find, state="created", now=now
    )


def _fill(
    link: Link, invoice: InvoiceRecord, mapping: MappingRecord, there: Sequence[ProviderInvoiceLine], now: datetime
) -> ProviderInvoice | None:
    """Adds the lines that are not there yet; a call that the provider may have forgotten is never repeated. The last
    answer, None where all were there."""
    draft_id, seen = mapping.provider_id or "", None
    for key, lines in invoice_calls.missing_lines(invoice, mapping, there):
        if provider_mapping.key_is_old(mapping, now):
            raise _StartOver
        try:
            seen = link.gateway.add_lines(draft_id, invoice.currency, lines, key)
        except ProviderUnavailable as error:
            if error.replayed:
                raise _StartOver from error
            raise
        except (ProviderNotFound, ProviderKeyRefused):
            raise
        except ProviderRejected as error:
            raise _DraftRefused(f"rejected: {error.detail}") from error
    return seen


def _finalize(
    ledger: Ledger,
    scope: Scope,
    link: Link,
    invoice: InvoiceRecord,
    mapping: MappingRecord,
    auto_advance: bool,
    now: datetime,
) -> ProviderInvoice:
    try:
        seen = invoice_calls.finalize(link, mapping, auto_advance)
    except ProviderNotFound:
        raise _StartOver from None
    except ProviderKeyRefused:
        raise
    except ProviderRejected as error:
        # Another worker may have been first; only what the invoice is now counts.
        seen = link.gateway.get_invoice(mapping.provider_id or "")
        if seen.status == ProviderInvoiceStatus.DRAFT:
            raise _Failed(f"rejected: {error.detail}") from error
    with ledger.begin() as session:
        _record(session, scope, mapping, "finalized", seen, now)
    if seen.total != invoice.amount_due:
        # Somebody changed the draft after it was compared.
        invoice_calls.leave_alone(link, mapping, seen)
        there, here = format_decimal(seen.total), format_decimal(invoice.amount_due)
        raise _Failed(f"total_differs: {there} there, {here} here")
    return seen


def _discard(
    ledger: Ledger, scope: Scope, link: Link, mapping: MappingRecord, reason: str | None, now: datetime
) -> bool:
    """Deletes the draft and forgets it. False when it is no draft any more and has to stay."""
    with ledger.read() as session:
        known = mappings.get_mapping(session, scope, link.connection.id, ENTITY, mapping.entity_id)
    if known is None or known.provider_id != mapping.provider_id:
        return True
    if known.provider_id is not None:
        try:
            link.gateway.delete_draft(known.provider_id)
        except ProviderNotFound:
            pass
        except ProviderRejected:
            return False
    with ledger.begin() as session:
        provider_mapping.restart(session, scope, known, now, reason)
    return True


def _fail(ledger: Ledger, scope: Scope, link: Link, mapping: MappingRecord, reason: str, now: datetime) -> SyncResult:
    """Takes the draft away and leaves the reason in the mapping; ours stays as it is and can be sent again."""
    discarded = _discard(ledger, scope, link, mapping, reason, now)
    with ledger.begin() as session:
        if not discarded:
            _record_failure(session, scope, link, mapping.entity_id, reason, now)
        audit.write(session, scope, "stripe", "invoice.sync_failed", ENTITY, mapping.entity_id, {"reason": reason}, now)
    name, _, detail = reason.partition(": ")
    return SyncResult(mapping.entity_id, "failed", name, detail or None)


def _refuse(
    ledger: Ledger,
    scope: Scope,
    link: Link,
    invoice: InvoiceRecord,
    reason: str,
    detail: str | None,
    now: datetime,
) -> SyncResult:
    """Says no, and leaves the reason where the integration's health is read."""
    if invoice.status == InvoiceStatus.FINALIZED:
        with ledger.begin() as session:
            mappings.intend(session, scope, link.connection.id, ENTITY, invoice.id, now)
            _record_failure(session, scope, link, invoice.id, reason, now)
    return SyncResult(invoice.id, "refused", reason, detail)


def _record(
    session: Session, scope: Scope, mapping: MappingRecord, state: str, seen: ProviderInvoice, now: datetime
) -> MappingRecord:
    return mappings.record(
        session,
        scope,
        mapping.connection_id,
        ENTITY,
        mapping.entity_id,
        state=state,
        provider_id=seen.id,
        detail=seen_detail(seen),
        now=now,
    )


def _record_failure(session: Session, scope: Scope, link: Link, invoice_id: str, reason: str, now: datetime) -> None:
    mappings.record(session, scope, link.connection.id, ENTITY, invoice_id, state="failed", last_error=reason, now=now)


def result_of(mapping: MappingRecord, outcome: str) -> SyncResult:
    """What a mapping says about an invoice that is at the provider."""
    known: dict[str, Any] = mapping.detail
    return SyncResult(
        invoice_id=mapping.entity_id,
        outcome=outcome,
        stripe_invoice_id=mapping.provider_id,
        status=known.get("status"),
        payment_intent_id=known.get("payment_intent_id"),
        hosted_invoice_url=known.get("hosted_invoice_url"),
        invoice_pdf=known.get("invoice_pdf"),
    )


def require_synced(result: SyncResult) -> SyncResult:
    """The result, or Conflict with the name of the refusal."""
    if result.outcome in {"synced", "already_synced"}:
        return result
    raise Conflict(result.reason or "not_synced", result.detail or "the invoice was not sent to Stripe")
