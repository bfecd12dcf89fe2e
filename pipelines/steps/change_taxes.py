"""Use cases: who is taxed by which rates; a customer from the next pricing on, one draft at once."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from billing.scope import Scope
from ledger.store import audit, customers, invoices, tax_rates
from ledger.store.customers import CustomerChanges, CustomerRecord
from ledger.store.invoices import InvoiceRecord
from pipelines.steps.code_version import CODE_VERSION
from pipelines.steps.facts import Facts
from pipelines.steps.one_off_invoice import one_off_lines_again, price_one_off
from pipelines.steps.plan_prices import Catalog
from pipelines.steps.price_invoices import price_draft

__all__ = ["change_customer_taxes", "change_invoice_taxes"]


def change_customer_taxes(
    session: Session,
    scope: Scope,
    customer_id: str,
    tax_exempt: bool | None,
    tax_rate_ids: Sequence[str] | None,
    actor: str,
    now: datetime,
) -> CustomerRecord:
    """The customer with what is given; None stays as it is. Drafts are priced anew by the next run.

    NotFound `customer_not_found`, and the errors of `check_rates`.
    """
    found = customers.get_customer(session, scope, customer_id)
    changes: CustomerChanges = {}
    if tax_exempt is not None:
        changes["tax_exempt"] = tax_exempt
    if tax_rate_ids is not None:
        changes["tax_rate_ids"] = tax_rates.check_rates(session, scope, tax_rate_ids, found.tax_rate_ids)
    changed = customers.update_customer(session, scope, found.id, changes)
    audit.write(session, scope, actor, "customer.taxes_changed", "customer", found.id, dict(changes), now)
    return changed


def change_invoice_taxes(
    session: Session, scope: Scope, invoice_id: str, tax_rate_ids: Sequence[str] | None, actor: str, now: datetime
) -> InvoiceRecord:
    """The draft with rates of its own, None for its customer's; priced anew at once if it has been priced.

    NotFound `invoice_not_found`; Conflict `invoice_not_draft`; the errors of `check_rates`, and of `price_draft`.
    """
    found = invoices.get_invoice(session, scope, invoice_id)
    if tax_rate_ids is not None:
        tax_rates.check_rates(session, scope, tax_rate_ids, found.tax_rate_ids or ())
    draft = invoices.set_tax_rates(session, scope, found.id, tax_rate_ids)
    detail = {"tax_rate_ids": None if tax_rate_ids is None else list(tax_rate_ids)}
    audit.write(session, scope, actor, "invoice.taxes_changed", "invoice", draft.id, detail, now)
    if draft.subscription_id is None:
        return price_one_off(session, scope, draft, one_off_lines_again(draft), now)
    if draft.inputs_hash is not None:
        price_draft(Facts(session, scope, Catalog()), draft.id, now, CODE_VERSION)
    return invoices.get_invoice(session, scope, draft.id)
