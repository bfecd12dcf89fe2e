"""Which discounts and taxes an invoice is made with, as the ledger says now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.adjustments.adjust import DiscountTerms, InvoiceTerms, TaxTerms, discountable
from billing.adjustments.coupon import Duration, in_force, within_first
from billing.invoice import BillingReason, InvoiceStatus, content_hash
from billing.period import Period
from ledger.store.discounts import DiscountRecord
from ledger.store.invoices import InvoiceRecord
from pipelines.steps.facts import Facts

__all__ = ["Billed", "terms_for", "terms_of", "with_terms"]


@dataclass(frozen=True)
class Billed:
    """What an invoice is for, whether it is there yet or not; our ids."""

    customer_id: str
    subscription_id: str | None
    period: Period
    reason: BillingReason = BillingReason.SUBSCRIPTION_CYCLE
    tax_rate_ids: Sequence[str] | None = None

    @property
    def billed_at(self) -> datetime:
        """When it is due to be made, see `InvoiceRecord.billed_at`."""
        return self.period.start if self.reason is BillingReason.SUBSCRIPTION_START else self.period.end


def terms_of(facts: Facts, invoice: InvoiceRecord) -> InvoiceTerms:
    """The terms that a draft is priced with now."""
    billed = Billed(
        invoice.customer_id, invoice.subscription_id, invoice.period, invoice.billing_reason, invoice.tax_rate_ids
    )
    return terms_for(facts, billed)


def terms_for(facts: Facts, billed: Billed) -> InvoiceTerms:
    """The terms of an invoice that need not be there yet.

    Coupons count for subscriptions, not for what is made by hand. Rates set for the invoice count before its
    customer's. A customer who is exempt is never taxed.
    """
    return InvoiceTerms(_discounts(facts, billed), _taxes(facts, billed))


def with_terms(inputs_hash: str, terms: InvoiceTerms) -> str:
    """Stands for what the lines were made from, and for what was then taken off and added (M3)."""
    if not terms.discounts and not terms.taxes:
        return inputs_hash
    return content_hash({"lines": inputs_hash, "terms": terms})


def _discounts(facts: Facts, billed: Billed) -> tuple[DiscountTerms, ...]:
    if billed.subscription_id is None:
        return ()
    held = facts.discounts_of(billed.customer_id, billed.subscription_id)
    return tuple(each.terms for each in held if _counts(facts, each, billed, billed.subscription_id))


def _counts(facts: Facts, discount: DiscountRecord, billed: Billed, subscription_id: str) -> bool:
    if not in_force(discount.starts_at, discount.ends_at, billed.period):
        return False
    terms = discount.coupon.terms
    match terms.duration:
        case Duration.FOREVER:
            return True
        case Duration.REPEATING:
            schedule = facts.subscription(subscription_id).schedule()
            return within_first(terms.periods or 0, discount.starts_at, schedule, billed.period)
    return _is_first(facts, discount, billed)


def _is_first(facts: Facts, discount: DiscountRecord, billed: Billed) -> bool:
    """Whether the invoice is the first one, by period, that the discount can take something off.

    One that was finalized with it has used it up, even if an earlier period is billed only now.
    """
    currency = discount.coupon.terms.currency
    place = _place(billed)
    for other in facts.invoices_of_customer(billed.customer_id, discount.subscription_id):
        if _place(other) == place or other.status == InvoiceStatus.VOID:
            continue
        if other.status == InvoiceStatus.FINALIZED and any(
            applied.terms.id == discount.id and applied.amount > 0 for applied in other.discounts
        ):
            return False
        takes_it = currency in {None, other.currency} and in_force(discount.starts_at, discount.ends_at, other.period)
        if takes_it and _place(other) < place and _has_discountable(facts, other):
            return False
    return True


def _has_discountable(facts: Facts, invoice: InvoiceRecord) -> bool:
    """`invoice` may be without its lines; its subtotal holds what coupons leave alone as well."""
    return discountable(facts.lines_of(invoice).lines) > 0


def _place(billed: Billed | InvoiceRecord) -> tuple[datetime, datetime, str]:
    """Where an invoice stands in the order of a customer's periods; the advance of a first one before all else."""
    return billed.billed_at, billed.period.start, billed.subscription_id or ""


def _taxes(facts: Facts, billed: Billed) -> tuple[TaxTerms, ...]:
    customer = facts.customer(billed.customer_id)
    if customer.tax_exempt:
        return ()
    return facts.tax_terms(customer.tax_rate_ids if billed.tax_rate_ids is None else billed.tax_rate_ids)
