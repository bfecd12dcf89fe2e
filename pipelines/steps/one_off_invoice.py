"""Use case: an invoice that is made by hand, for what no subscription bills. It begins as a draft."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from billing.errors import InvalidInput
from billing.invoice import LineDraft, content_hash
from billing.line_adjustment import adjustment_again
from billing.money import currency_in_use, format_decimal
from billing.one_off import OneOffItem, item_of, one_off_lines
from billing.period import Period
from billing.scope import Scope
from ledger.store import audit, customers, invoices, tax_rates
from ledger.store.customers import CustomerRecord
from ledger.store.invoices import InvoiceRecord
from pipelines.steps.code_version import CODE_VERSION
from pipelines.steps.facts import Facts
from pipelines.steps.invoice_terms import terms_of, with_terms
from pipelines.steps.plan_prices import Catalog

__all__ = ["NewOneOff", "create_one_off", "one_off_inputs_hash", "one_off_lines_again", "price_one_off"]


@dataclass(frozen=True)
class NewOneOff:
    """`customer_id` ours or external; the customer's `currency` and `tax_rate_ids`, and the UTC day of making it when
    left out."""

    customer_id: str
    items: Sequence[OneOffItem]
    currency: str | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None
    collection_method: str = "charge_automatically"
    metadata: Mapping[str, str] = field(default_factory=dict)
    tax_rate_ids: Sequence[str] | None = None


def create_one_off(session: Session, scope: Scope, wanted: NewOneOff, actor: str, now: datetime) -> InvoiceRecord:
    """The draft with its lines.

    Errors: NotFound `customer_not_found`; InvalidInput `currency_needed`, `customer_currency_differs`,
    `unknown_currency`, `currency_withdrawn`, `period_incomplete`, `end_before_start`, and those of `one_off_lines` and
    `check_rates`.
    """
    customer = customers.get_customer(session, scope, wanted.customer_id)
    currency, period = _currency(wanted, customer), _period(wanted, now)
    lines = one_off_lines(wanted.items, currency, period)
    draft = invoices.create_one_off(
        session,
        scope,
        customer,
        currency=currency,
        period=period,
        collection_method=wanted.collection_method,
        metadata=wanted.metadata,
        now=now,
        tax_rate_ids=None
        if wanted.tax_rate_ids is None
        else tax_rates.check_rates(session, scope, wanted.tax_rate_ids),
    )
    priced = price_one_off(session, scope, draft, lines, now)
    detail = {"total": format_decimal(priced.total), "currency": currency, "lines": len(lines)}
    audit.write(session, scope, actor, "invoice.created", "invoice", priced.id, detail, now)
    return priced


def price_one_off(
    session: Session, scope: Scope, draft: InvoiceRecord, lines: Sequence[LineDraft], now: datetime
) -> InvoiceRecord:
    """The draft with these lines, under the taxes that hold for it now. Conflict `invoice_not_draft`."""
    terms = terms_of(Facts(session, scope, Catalog()), draft)
    inputs = with_terms(one_off_inputs_hash(draft, lines, CODE_VERSION), terms)
    return invoices.replace_lines(session, scope, draft.id, lines, inputs, None, CODE_VERSION, now, terms)


def one_off_lines_again(invoice: InvoiceRecord) -> tuple[LineDraft, ...]:
    """The lines made anew from what they say that they were made from."""
    by_hand = one_off_lines([item_of(line) for line in invoice.own_lines], invoice.currency, invoice.period)
    return (*by_hand, *map(adjustment_again, invoice.adjustment_lines))


def one_off_inputs_hash(invoice: InvoiceRecord, lines: Sequence[LineDraft], code_version: str) -> str:
    """Stands for everything that the lines of a one-off invoice were made from (M3)."""
    return content_hash(
        {
            "code_version": code_version,
            "customer_id": invoice.customer_id,
            "currency": invoice.currency,
            "period": invoice.period,
            "lines": [line if line.is_adjustment else item_of(line) for line in lines],
        }
    )


def _currency(wanted: NewOneOff, customer: CustomerRecord) -> str:
    currency = wanted.currency or customer.currency
    if currency is None:
        raise InvalidInput(
            "currency_needed",
            "is needed, since the customer has none of its own",
            field="currency",
            hint='Send an ISO 4217 code such as "USD".',
        )
    # The provider allows a customer one currency; finding out when the invoice is sent would be too late.
    if customer.currency is not None and currency != customer.currency:
        raise InvalidInput(
            "customer_currency_differs",
            f"The customer is billed in {customer.currency}, this invoice is in {currency}.",
            field="currency",
            hint=f"Leave it out, or send {customer.currency}.",
        )
    return currency_in_use(currency)


def _period(wanted: NewOneOff, now: datetime) -> Period:
    start, end = wanted.period_start, wanted.period_end
    if start is None and end is None:
        day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return Period(day, day + timedelta(days=1))
    if start is None or end is None:
        missing = "period_start" if start is None else "period_end"
        raise InvalidInput(
            "period_incomplete", "has to come with the other end", field=missing, hint="Send both or neither."
        )
    if end <= start:
        raise InvalidInput(
            "end_before_start", "The end must come after the start.", field="period_end", hint="Use a later period_end."
        )
    return Period(start, end)
