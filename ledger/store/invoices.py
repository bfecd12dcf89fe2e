"""The life of an invoice: one draft per subscription and period, or one made by hand; finalized, then paid or void."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, select, update
from sqlalchemy.orm import Session

from billing.adjustments.adjust import InvoiceTerms, adjust
from billing.adjustments.credit import Drawn
from billing.adjustments.split import added
from billing.errors import Conflict, NotFound
from billing.exact import EXACT
from billing.invoice import (
    INVOICE_MOVES,
    PAYMENT_MOVES,
    BillingReason,
    InvoiceStatus,
    LineDraft,
    PaymentStatus,
    check_move,
)
from billing.money import round_amount
from billing.period import Period
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Invoice
from ledger.store import credit_grants, customers
from ledger.store.bulk import insert_new_rows, update_rows
from ledger.store.credit_grants import NewGrant
from ledger.store.customers import CustomerRecord
from ledger.store.invoice_lines import LineRecord, insert_lines, lines_with_ids, remove_lines
from ledger.store.invoice_numbers import hold_numbers, take_numbers
from ledger.store.invoice_queries import (
    DraftRecord,
    PeriodInvoice,
    UnsentInvoice,
    closed_periods,
    drafts_of,
    finalized_after,
    invoices_of_periods,
    last_closed_end,
    list_invoices,
    of_customer,
    of_period,
    of_periods,
    of_subscriptions,
    to_sync,
    unsent,
    untouched,
)
from ledger.store.invoice_record import InvoiceRecord, adjusted_columns, with_lines
from ledger.store.rows import affected, among, in_scope, insert_new, scoped
from ledger.store.subscriptions import SubscriptionRecord

__all__ = [
    "DraftRecord",
    "InvoiceRecord",
    "LineRecord",
    "PeriodInvoice",
    "UnsentInvoice",
    "closed_periods",
    "create_one_off",
    "customer_of",
    "cut_drafts",
    "drafts_of",
    "ensure_draft",
    "ensure_drafts",
    "finalize",
    "finalize_held",
    "finalized_after",
    "get_invoice",
    "hold",
    "hold_invoices",
    "invoices_of",
    "invoices_of_periods",
    "last_closed_end",
    "list_invoices",
    "of_customer",
    "of_period",
    "of_periods",
    "of_subscriptions",
    "record_credited",
    "record_payment_state",
    "replace_lines",
    "replace_lines_of",
    "set_links",
    "set_links_of",
    "set_tax_rates",
    "to_sync",
    "undo_refund",
    "unsent",
    "untouched",
    "void",
]

NO_TERMS = InvoiceTerms()


def create_one_off(
    session: Session,
    scope: Scope,
    customer: CustomerRecord,
    *,
    currency: str,
    period: Period,
    collection_method: str,
    metadata: Mapping[str, str],
    now: datetime,
    tax_rate_ids: Sequence[str] | None = None,
    reason: BillingReason = BillingReason.MANUAL,
) -> InvoiceRecord:
    """An empty draft that belongs to no subscription."""
    values = _empty(scope, customer.id, currency, period, collection_method, now)
    rates = None if tax_rate_ids is None else list(tax_rate_ids)
    insert_new(
        session,
        Invoice,
        {**values, "billing_reason": reason.value, "meta": dict(metadata), "tax_rate_ids": rates},
    )
    return get_invoice(session, scope, values["id"])


def ensure_draft(
    session: Session,
    scope: Scope,
    subscription: SubscriptionRecord,
    period: Period,
    now: datetime,
    reason: BillingReason = BillingReason.SUBSCRIPTION_CYCLE,
) -> InvoiceRecord:
    """The invoice of a subscription's period, made as an empty draft if there is none; by `reason` its first advance.

    Run twice or at once it is the same invoice, which may have left draft by then: look at its status.
    """
    ensure_drafts(session, scope, [(subscription, period, reason)], now)
    made = of_period(session, scope, subscription.id, period.start, reason)
    if made is None:
        raise _missing()
    return made


def ensure_drafts(
    session: Session, scope: Scope, wanted: Sequence[tuple[SubscriptionRecord, Period, BillingReason]], now: datetime
) -> list[str]:
    """The same for many, by their ids; those that are there stay as they are."""
    rows = [
        {
            **_empty(
                scope, subscription.customer_id, subscription.currency, period, subscription.collection_method, now
            ),
            "subscription_id": subscription.id,
            "billing_reason": reason.value,
        }
        for subscription, period, reason in wanted
    ]
    insert_new_rows(session, Invoice, rows)
    these = {(subscription.id, period.start, reason.value) for subscription, period, reason in wanted}
    known = select(Invoice.id, Invoice.subscription_id, Invoice.period_start, Invoice.billing_reason).where(
        in_scope(Invoice, scope), Invoice.period_start.in_({period.start for _, period, _ in wanted})
    )
    ids = {subscription_id for subscription_id, _, _ in these}
    rows_of = session.execute(known.where(among(session, Invoice.subscription_id, ids)).order_by(Invoice.id))
    return [invoice_id for invoice_id, *of in rows_of if tuple(of) in these]


def replace_lines(
    session: Session,
    scope: Scope,
    invoice_id: str,
    lines: Sequence[LineDraft],
    inputs_hash: str,
    watermark: datetime | None,
    code_version: str,
    now: datetime,
    terms: InvoiceTerms = NO_TERMS,
) -> InvoiceRecord:
    """Makes `lines` the lines of a draft, and its amounts what `adjust` makes of them under `terms`. The same again
    changes nothing but `priced_at`.

    A negative total is owed to the customer: nothing is due.
    NotFound `invoice_not_found`, Conflict `invoice_not_draft`.
    """
    # Held before its lines are read: of two who price it at once, the second has the lines of the first to replace.
    draft = hold(session, scope, invoice_id)
    adjusted = adjust(lines, terms, draft.currency)
    new = draft.priced(adjusted, inputs_hash, watermark, code_version, lines_with_ids(adjusted.lines, draft.lines, now))
    replace_lines_of(session, scope, [(draft, new)], now)
    return get_invoice(session, scope, invoice_id)


def replace_lines_of(
    session: Session, scope: Scope, drafts: Sequence[tuple[InvoiceRecord, InvoiceRecord]], now: datetime
) -> None:
    """The same for many drafts, each as it is stored and as it is to be (`InvoiceRecord.priced`).

    Conflict `invoice_not_draft` where one of them is none.
    """
    rows = [
        scoped(
            scope,
            id=new.id,
            **adjusted_columns(new),
            inputs_hash=new.inputs_hash,
            watermark=new.watermark,
            code_version=new.code_version,
            priced_at=now,
        )
        for _, new in drafts
    ]
    # The update also holds the rows, so that nobody finalizes between it and the lines.
    if update_rows(session, Invoice, rows, Invoice.status == InvoiceStatus.DRAFT.value) < len(rows):
        raise _not_draft()
    remove_lines(session, scope, [old.id for old, _ in drafts if old.lines])
    insert_lines(session, scope, {new.id: new.lines for _, new in drafts})


def set_tax_rates(session: Session, scope: Scope, invoice_id: str, tax_rate_ids: Sequence[str] | None) -> InvoiceRecord:
    """Sets the rates of a draft alone; None gives it its customer's again. It is for the caller to price it anew.

    NotFound `invoice_not_found`, Conflict `invoice_not_draft`.
    """
    get_invoice(session, scope, invoice_id)
    rates = None if tax_rate_ids is None else list(tax_rate_ids)
    if affected(session, update(Invoice).where(_is_draft(scope, invoice_id)).values(tax_rate_ids=rates)) == 0:
        raise _not_draft()
    return get_invoice(session, scope, invoice_id)


def finalize(
    session: Session, scope: Scope, invoice_id: str, now: datetime, expected_inputs_hash: str | None = None
) -> InvoiceRecord:
    """Gives a draft its number and freezes it; the customer's credit pays what it can. With nothing due then it is paid
    at once, and a total below zero becomes credit.

    With `expected_inputs_hash` only if the draft still is what was checked. NotFound `invoice_not_found`, Conflict
    `invoice_not_draft`, `invoice_changed`.
    """
    # The counter moves once nothing can refuse any more, so a caller that carries on after an error leaves no gap.
    customers.hold_customer(session, scope, customer_of(session, scope, invoice_id))
    draft = hold(session, scope, invoice_id)
    if draft.status != InvoiceStatus.DRAFT:
        raise _not_draft()
    if expected_inputs_hash is not None and expected_inputs_hash != draft.inputs_hash:
        raise Conflict(
            "invoice_changed",
            "the draft was priced again after it was checked",
            hint="Run the checks again, then finalize.",
        )
    finalize_held(session, scope, [draft], now)
    return get_invoice(session, scope, invoice_id)


def finalize_held(
    session: Session, scope: Scope, drafts: Sequence[InvoiceRecord], now: datetime
) -> list[InvoiceRecord]:
    """The same for drafts that were checked, numbered in their order. The caller holds the customers and the invoices,
    in this order, and nobody else's: the counter of the numbers is locked after all of them."""
    if not drafts:
        return []
    month = hold_numbers(session, scope, now)
    with_credit = credit_grants.holders(session, scope, {draft.customer_id for draft in drafts})
    final = []
    for draft, number in zip(drafts, take_numbers(session, scope, month, len(drafts)), strict=True):
        drawn: tuple[Drawn, ...] = ()
        if draft.customer_id in with_credit:
            drawn = credit_grants.apply(session, scope, draft.customer_id, draft.id, draft.total, draft.currency, now)
        if draft.total < 0:
            owed = NewGrant(-draft.total, draft.currency, "negative_invoice", draft.id, reason=number)
            credit_grants.grant(session, scope, draft.customer_id, owed, now)
            with_credit.add(draft.customer_id)
        applied = added((each.amount for each in drawn), draft.currency)
        due = EXACT.subtract(draft.amount_due, applied)
        final.append(
            replace(
                draft,
                status=InvoiceStatus.FINALIZED,
                finalized_at=now,
                number=number,
                credits=drawn,
                credits_applied=applied,
                amount_due=due,
                payment_status=PaymentStatus.PAID if due == 0 else draft.payment_status,
                paid_at=now if due == 0 else draft.paid_at,
            )
        )
    rows = [scoped(scope, id=each.id, **_frozen(each)) for each in final]
    if update_rows(session, Invoice, rows, Invoice.status == InvoiceStatus.DRAFT.value) < len(rows):
        raise _not_draft()
    return final


def _frozen(final: InvoiceRecord) -> dict[str, Any]:
    return {
        "status": final.status.value,
        "finalized_at": final.finalized_at,
        "number": final.number,
        "credits_applied": final.credits_applied,
        "credits": [
            {"grant_id": each.grant_id, "available": f"{each.available:f}", "amount": f"{each.amount:f}"}
            for each in final.credits
        ],
        "amount_due": final.amount_due,
        "payment_status": final.payment_status.value,
        "paid_at": final.paid_at,
    }


def void(session: Session, scope: Scope, invoice_id: str, now: datetime, reason: str | None = None) -> InvoiceRecord:
    """Voids an invoice; one that is void stays so, and takes a reason if it has none. The credit that paid it goes back
    to where it came from, the credit that came of it is taken back.

    NotFound `invoice_not_found`, Conflict `credit_used` and from INVOICE_MOVES.
    """
    customers.hold_customer(session, scope, customer_of(session, scope, invoice_id))
    row = _locked(session, scope, invoice_id)
    if row.status != InvoiceStatus.VOID:
        check_move(INVOICE_MOVES, InvoiceStatus(row.status), InvoiceStatus.VOID)
        owed = credit_grants.grant_of(session, scope, "negative_invoice", invoice_id)
        if owed is not None:
            credit_grants.void_grant(session, scope, owed.id, now, unused=True)
        credit_grants.give_back(session, scope, invoice_id, None, now)
        _set(session, scope, invoice_id, status=InvoiceStatus.VOID.value, voided_at=now, void_reason=reason)
    elif row.void_reason is None and reason is not None:
        _set(session, scope, invoice_id, void_reason=reason)
    return get_invoice(session, scope, invoice_id)


def cut_drafts(session: Session, scope: Scope, subscription_id: str, end: datetime, now: datetime) -> None:
    """Makes a subscription's drafts fit an end that it has got since: the one in which it lies ends there, later ones
    are void. The caller holds the subscription."""
    drafts = and_(
        in_scope(Invoice, scope),
        Invoice.subscription_id == subscription_id,
        Invoice.status == InvoiceStatus.DRAFT.value,
    )
    later = update(Invoice).where(drafts, Invoice.period_start >= end)
    reason = "the subscription ended before this period"
    session.execute(later.values(status=InvoiceStatus.VOID.value, voided_at=now, void_reason=reason))
    session.execute(update(Invoice).where(drafts, Invoice.period_end > end).values(period_end=end))


def get_invoice(session: Session, scope: Scope, invoice_id: str) -> InvoiceRecord:
    """An invoice with its lines. NotFound `invoice_not_found`."""
    row = session.scalar(select(Invoice).where(in_scope(Invoice, scope), Invoice.id == invoice_id))
    if row is None:
        raise _missing()
    return with_lines(session, scope, [row])[0]


def invoices_of(session: Session, scope: Scope, ids: Collection[str]) -> dict[str, InvoiceRecord]:
    """Id -> invoice with its lines, of those that exist."""
    return _by_id(session, scope, select(*Invoice.__table__.columns), ids)


def hold_invoices(session: Session, scope: Scope, ids: Collection[str]) -> dict[str, InvoiceRecord]:
    """The same, their rows locked until the transaction ends, always in the same order."""
    rows = select(*Invoice.__table__.columns).order_by(Invoice.id).with_for_update()
    return _by_id(session, scope, rows, sorted(set(ids)))


def customer_of(session: Session, scope: Scope, invoice_id: str) -> str:
    """Whose invoice it is, our id: the customer is held before the invoice. NotFound `invoice_not_found`."""
    found = session.scalar(select(Invoice.customer_id).where(in_scope(Invoice, scope), Invoice.id == invoice_id))
    if found is None:
        raise _missing()
    return found


def hold(session: Session, scope: Scope, invoice_id: str) -> InvoiceRecord:
    """The invoice, its row locked until the transaction ends. NotFound `invoice_not_found`."""
    return with_lines(session, scope, [_locked(session, scope, invoice_id)])[0]


def record_payment_state(
    session: Session,
    scope: Scope,
    invoice_id: str,
    amount_paid: Decimal,
    payment_status: PaymentStatus,
    paid_at: datetime | None,
    payment_details: Mapping[str, Any] | None,
) -> InvoiceRecord:
    """What the provider says about paying. A report that PAYMENT_MOVES does not allow is old: it changes nothing.

    A second report of the same state may add to `amount_paid`, never take away, and keeps the first `paid_at`.
    NotFound `invoice_not_found`, Conflict `invoice_not_finalized`.
    """
    row = _locked(session, scope, invoice_id)
    if row.status == InvoiceStatus.DRAFT:
        raise Conflict("invoice_not_finalized", "a draft cannot be paid", hint="Finalize the invoice first.")
    old, new = PaymentStatus(row.payment_status), PaymentStatus(payment_status)
    if new == old or new in PAYMENT_MOVES[old]:
        _set(
            session,
            scope,
            invoice_id,
            payment_status=new.value,
            amount_paid=max(amount_paid, row.amount_paid),
            paid_at=row.paid_at or paid_at,
            payment_details=row.payment_details if payment_details is None else dict(payment_details),
        )
    return get_invoice(session, scope, invoice_id)


def undo_refund(session: Session, scope: Scope, invoice_id: str) -> None:
    """A refund that failed has left the money here: paid again. Anything but a refunded invoice stays as it is."""
    row = _locked(session, scope, invoice_id)
    if row.payment_status == PaymentStatus.REFUNDED:
        paid = row.amount_paid >= row.amount_due
        status = PaymentStatus.PAID if paid else PaymentStatus.PARTIALLY_PAID
        _set(session, scope, invoice_id, payment_status=status.value)


def record_credited(
    session: Session, scope: Scope, invoice_id: str, total: Decimal, pre_payment: Decimal
) -> InvoiceRecord:
    """Adds a credit note to what was credited of an invoice, or takes it off; the caller holds the row."""
    row = _locked(session, scope, invoice_id)
    _set(
        session,
        scope,
        invoice_id,
        amount_credited=EXACT.add(row.amount_credited, total),
        pre_payment_credited=EXACT.add(row.pre_payment_credited, pre_payment),
    )
    return get_invoice(session, scope, invoice_id)


def set_links(
    session: Session, scope: Scope, invoice_id: str, hosted_url: str | None, pdf_url: str | None
) -> InvoiceRecord:
    """Where the provider shows the invoice; None keeps what is known. NotFound `invoice_not_found`."""
    links = {"stripe_hosted_invoice_url": hosted_url, "invoice_pdf_url": pdf_url}
    _set(session, scope, invoice_id, **{name: url for name, url in links.items() if url is not None})
    return get_invoice(session, scope, invoice_id)


def set_links_of(session: Session, scope: Scope, links: Mapping[str, tuple[str | None, str | None]]) -> None:
    """The same for many, by their ids; what is None here becomes None there."""
    rows = [
        scoped(scope, id=invoice_id, stripe_hosted_invoice_url=hosted_url, invoice_pdf_url=pdf_url)
        for invoice_id, (hosted_url, pdf_url) in sorted(links.items())
    ]
    update_rows(session, Invoice, rows, Invoice.status == InvoiceStatus.FINALIZED.value)


def _empty(
    scope: Scope, customer_id: str, currency: str, period: Period, collection_method: str, now: datetime
) -> dict[str, Any]:
    """The columns of a draft without lines."""
    nothing = round_amount(Decimal(0), currency)
    return scoped(
        scope,
        id=new_id("inv", now),
        customer_id=customer_id,
        status=InvoiceStatus.DRAFT.value,
        payment_status=PaymentStatus.PENDING.value,
        currency=currency,
        subtotal=nothing,
        discount_total=nothing,
        tax_total=nothing,
        total=nothing,
        credits_applied=nothing,
        amount_due=nothing,
        amount_paid=nothing,
        amount_credited=nothing,
        pre_payment_credited=nothing,
        discounts=[],
        taxes=[],
        credits=[],
        period_start=period.start,
        period_end=period.end,
        collection_method=collection_method,
        meta={},
        created_at=now,
    )


def _by_id(session: Session, scope: Scope, rows: Select[Any], ids: Collection[str]) -> dict[str, InvoiceRecord]:
    found = session.execute(rows.where(in_scope(Invoice, scope), among(session, Invoice.id, ids))).all()
    return {invoice.id: invoice for invoice in with_lines(session, scope, found)}


def _locked(session: Session, scope: Scope, invoice_id: str) -> Invoice:
    rows = select(Invoice).where(in_scope(Invoice, scope), Invoice.id == invoice_id).with_for_update()
    row = session.scalar(rows)
    if row is None:
        raise _missing()
    return row


def _set(session: Session, scope: Scope, invoice_id: str, **values: Any) -> None:
    if values:
        session.execute(update(Invoice).where(in_scope(Invoice, scope), Invoice.id == invoice_id).values(values))


def _is_draft(scope: Scope, invoice_id: str) -> ColumnElement[bool]:
    return and_(in_scope(Invoice, scope), Invoice.id == invoice_id, Invoice.status == InvoiceStatus.DRAFT.value)


def _missing() -> NotFound:
    return NotFound("invoice_not_found", "no such invoice", field="invoice_id")


def _not_draft() -> Conflict:
    return Conflict(
        "invoice_not_draft",
        "the invoice is not a draft any more",
        hint="A finalized invoice never changes; correct it on a later one.",
    )
