"""What the ledger says about many periods of one environment, each kind of fact read once for all of them.

Whatever looks at one period asks here, so that the run of a billing day and the preview of one invoice share their
code. What `expect` was not told of is read when it is asked for. Facts are those of one transaction: they are thrown
away with it, and what a step writes in it, it says here as well.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from sqlalchemy.orm import Session

from billing.adjustments.adjust import TaxTerms
from billing.invoice import BillingReason
from billing.scope import Scope
from ledger.store import (
    customers,
    discounts,
    event_corrections,
    gates,
    invoices,
    line_adjustments,
    quantities,
    subscriptions,
    tax_rates,
)
from ledger.store.customers import CustomerRecord
from ledger.store.discounts import DiscountRecord
from ledger.store.event_corrections import Touch
from ledger.store.gates import GateRecord
from ledger.store.invoices import InvoiceRecord
from ledger.store.line_adjustments import AdjustmentRecord
from ledger.store.quantities import QuantityRecord
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.steps.billing_day import Due
from pipelines.steps.invoice_hash import invoice_hash
from pipelines.steps.plan_prices import Catalog

__all__ = ["Facts"]

_START, _CYCLE = BillingReason.SUBSCRIPTION_START, BillingReason.SUBSCRIPTION_CYCLE
_InvoiceKey = tuple[str, datetime, BillingReason]


class Facts:
    """The facts of one environment in one transaction; `catalog` may live longer."""

    def __init__(self, session: Session, scope: Scope, catalog: Catalog) -> None:
        self.session = session
        self.scope = scope
        self.catalog = catalog
        self._subscriptions: dict[str, SubscriptionRecord] = {}
        self._customers: dict[str, CustomerRecord] = {}
        self._invoices: dict[_InvoiceKey, InvoiceRecord | None] = {}
        self._changed: dict[str, InvoiceRecord] = {}
        self._quantities: dict[tuple[str, datetime], list[QuantityRecord]] = {}
        self._discounts: dict[str, list[DiscountRecord]] = {}
        self._adjustments: dict[str, tuple[AdjustmentRecord, ...]] = {}
        self._hashes: dict[str, tuple[InvoiceRecord, str]] = {}
        self._rates: dict[str, TaxTerms] = {}
        self._corrections: dict[str, list[Touch]] = {}
        self._results: dict[tuple[str, str], GateRecord | None] = {}

    def expect(self, dues: Collection[Due]) -> None:
        """Reads what pricing these periods asks for."""
        self.expect_customers({due.subscription.customer_id for due in dues})
        self._expect_discounts({due.subscription.customer_id for due in dues})
        self._subscriptions |= {due.subscription.id: due.subscription for due in dues}
        self.expect_quantities(dues)
        self._expect_neighbours([due for due in dues if self.catalog.has_advance(self.session, due)])

    def expect_subscriptions(self, ids: Collection[str]) -> None:
        """Reads what is billed."""
        missing = {each for each in ids if each not in self._subscriptions}
        if missing:
            self._subscriptions |= subscriptions.subscriptions_of(self.session, self.scope, missing)

    def expect_customers(self, ids: Collection[str]) -> None:
        """Reads who is billed; our ids."""
        missing = {each for each in ids if each not in self._customers}
        if missing:
            self._customers |= customers.customers_of(self.session, self.scope, missing)

    def expect_quantities(self, dues: Iterable[Due]) -> None:
        """Reads the quantities of the periods."""
        every = {(due.subscription.id, due.period.start) for due in dues}
        periods = {each for each in every if each not in self._quantities}
        if periods:
            found = quantities.quantities_of_periods(self.session, self.scope, periods)
            self._quantities |= {each: found.get(each, []) for each in periods}

    def expect_starts(self, begun: Iterable[SubscriptionRecord]) -> None:
        """Reads the invoices of the first period of subscriptions, that of its advance and its own."""
        self._expect_invoices((each.id, each.start_date, reason) for each in begun for reason in (_START, _CYCLE))

    def expect_corrections(self, customer_ids: Iterable[str]) -> None:
        """Reads what was corrected of the events of customers; our ids."""
        every = {self.customer(each).external_id for each in customer_ids}
        names = {each for each in every if each not in self._corrections}
        if names:
            found = event_corrections.touching(self.session, self.scope, names)
            self._corrections |= {name: found.get(name, []) for name in names}

    def expect_results(self, gate_names: Collection[str], subjects: Collection[str]) -> None:
        """Reads what these gates have said."""
        found = gates.results_of(self.session, self.scope, gate_names, subjects)
        self._results |= {
            (gate, subject): found.get(subject, {}).get(gate) for gate in gate_names for subject in subjects
        }

    def expect_adjustments(self, invoice_ids: Collection[str]) -> None:
        """Reads what the invoices carry of adjustments to earlier ones."""
        self.put_adjustments(line_adjustments.carried(self.session, self.scope, invoice_ids))

    def put_adjustments(self, carried: Mapping[str, tuple[AdjustmentRecord, ...]]) -> None:
        """Takes the adjustments of invoices, by the invoice's id, that the step has read itself."""
        self._adjustments |= carried

    def put_subscriptions(self, held: Mapping[str, SubscriptionRecord]) -> None:
        """Takes subscriptions that the step has read itself."""
        self._subscriptions |= held

    def put_customers(self, held: Mapping[str, CustomerRecord]) -> None:
        """Takes customers that the step has read itself."""
        self._customers |= held

    def put_invoice(self, invoice: InvoiceRecord) -> None:
        """Takes an invoice as the step has read it, or as it will be once the step has written it."""
        self._changed[invoice.id] = invoice
        if invoice.subscription_id is not None:
            self._invoices[invoice.subscription_id, invoice.period.start, invoice.billing_reason] = invoice

    def customer(self, customer_id: str) -> CustomerRecord:
        """By our id. NotFound `customer_not_found`."""
        if customer_id not in self._customers:
            self._customers[customer_id] = customers.get_customer(self.session, self.scope, customer_id)
        return self._customers[customer_id]

    def subscription(self, subscription_id: str) -> SubscriptionRecord:
        """NotFound `subscription_not_found`."""
        if subscription_id not in self._subscriptions:
            found = subscriptions.get_subscription(self.session, self.scope, subscription_id)
            self._subscriptions[subscription_id] = found
        return self._subscriptions[subscription_id]

    def invoice_of(self, subscription_id: str, period_start: datetime, reason: BillingReason) -> InvoiceRecord | None:
        """The invoice that a subscription has of a period for that reason, with its lines."""
        key = (subscription_id, period_start, reason)
        if key not in self._invoices:
            self._invoices[key] = invoices.of_period(self.session, self.scope, *key)
        return self._invoices[key]

    def invoices_of_customer(self, customer_id: str, subscription_id: str | None) -> list[InvoiceRecord]:
        """A customer's invoices for subscriptions, or for this one, by period; most of them without their lines."""
        found = invoices.of_customer(self.session, self.scope, customer_id, subscription_id)
        return [self._changed.get(each.id, each) for each in found]

    def hash_of(self, invoice: InvoiceRecord) -> str:
        """Its `invoice_hash`, worked out once for as long as the invoice is the same."""
        known = self._hashes.get(invoice.id)
        if known is None or known[0] is not invoice:
            known = self._hashes[invoice.id] = (invoice, invoice_hash(invoice))
        return known[1]

    def lines_of(self, invoice: InvoiceRecord) -> InvoiceRecord:
        """The same invoice with its lines."""
        return self._changed.get(invoice.id) or invoices.get_invoice(self.session, self.scope, invoice.id)

    def quantities_of(self, due: Due) -> list[QuantityRecord]:
        """The recorded quantities of a period."""
        self.expect_quantities([due])
        return self._quantities[due.subscription.id, due.period.start]

    def discounts_of(self, customer_id: str, subscription_id: str) -> list[DiscountRecord]:
        """What a customer has for all subscriptions or for this one, in the order in which it was given."""
        self._expect_discounts({customer_id})
        return [each for each in self._discounts[customer_id] if each.subscription_id in {None, subscription_id}]

    def tax_terms(self, ids: Iterable[str]) -> tuple[TaxTerms, ...]:
        """What these rates say, in this order. NotFound `tax_rate_not_found`."""
        for each in ids:
            if each not in self._rates:
                (self._rates[each],) = tax_rates.terms_of_rates(self.session, self.scope, [each])
        return tuple(self._rates[each] for each in ids)

    def adjustments_of(self, invoice_id: str) -> tuple[AdjustmentRecord, ...]:
        """The adjustments that an invoice carries, in the order of its lines."""
        if invoice_id not in self._adjustments:
            self.expect_adjustments([invoice_id])
        return self._adjustments[invoice_id]

    def corrections_before(self, due: Due) -> list[Touch]:
        """What was corrected of the customer's events with timestamps before the end of the period."""
        self.expect_corrections([due.subscription.customer_id])
        touches = self._corrections[self.customer(due.subscription.customer_id).external_id]
        return [each for each in touches if each.timestamp < due.period.end]

    def result_of(self, gate: str, subject: str) -> GateRecord | None:
        """What a gate has said of a subject, None where it was not asked."""
        if (gate, subject) not in self._results:
            self.expect_results([gate], [subject])
        return self._results[gate, subject]

    def _expect_discounts(self, customer_ids: Collection[str]) -> None:
        missing = {each for each in customer_ids if each not in self._discounts}
        if missing:
            found = discounts.of_customers(self.session, self.scope, missing)
            self._discounts |= {each: found.get(each, []) for each in missing}

    def _expect_neighbours(self, dues: Iterable[Due]) -> None:
        """Reads the invoices that bill a period in advance, its own, and the one of the period after it."""
        keys: set[_InvoiceKey] = set()
        for due in dues:
            previous = due.subscription.schedule().previous(due.period)
            before = (due.period.start, _START) if previous is None else (previous.start, _CYCLE)
            for start, reason in (before, (due.period.start, _CYCLE), (due.full.end, _CYCLE)):
                keys.add((due.subscription.id, start, reason))
        self._expect_invoices(keys)

    def _expect_invoices(self, keys: Iterable[_InvoiceKey]) -> None:
        missing = {key for key in keys if key not in self._invoices}
        if missing:
            ids, starts = {key[0] for key in missing}, {key[1] for key in missing}
            found = {
                (each.subscription_id or "", each.period.start, each.billing_reason): each
                for each in invoices.of_subscriptions(self.session, self.scope, ids, starts)
            }
            self._invoices |= {key: found.get(key) for key in missing}
