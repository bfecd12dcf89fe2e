"""Periods that are billed one after the other, with events that come after their invoice."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from billing.invoice import InvoiceStatus
from ledger.store import line_adjustments
from ledger.store.invoices import InvoiceRecord
from ledger.store.line_adjustments import AdjustmentRecord
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.assets.daily import CODE_VERSION
from pipelines.steps.collect_quantities import collect_quantities
from pipelines.steps.draft_invoices import draft_invoices
from pipelines.steps.finalize_invoices import Finalized, finalize_invoices
from pipelines.steps.gate_quantities import gate_quantities
from pipelines.steps.gate_totals import gate_totals
from pipelines.steps.late_usage import find_late_usage
from pipelines.steps.price_invoices import price_invoices
from pipelines.steps.settle_adjustments import Settled, settle_adjustments
from tests.integration.pipelines.stage import Shop, Stage

OCTOBER_10 = datetime(2024, 10, 10, tzinfo=UTC)
NOVEMBER_10 = datetime(2024, 11, 10, tzinfo=UTC)
BEGIN, END = datetime(2024, 11, 1, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC)


def look(stage: Stage, now: datetime) -> Settled:
    """Late events found, and settled where no next invoice carries them."""
    stage.now = now
    assert find_late_usage(stage.ledger, stage.warehouse, now).failures == ()
    settled = settle_adjustments(stage.ledger, now)
    assert settled.failures == ()
    return settled


def price_up_to(stage: Stage, now: datetime) -> None:
    """Everything that is due by now, priced and checked."""
    look(stage, now)
    collect_quantities(stage.ledger, stage.warehouse, BEGIN, END, now)
    draft_invoices(stage.ledger, BEGIN, END, now)
    assert price_invoices(stage.ledger, BEGIN, END, now, CODE_VERSION).failures == ()
    gate_quantities(stage.ledger, stage.warehouse, BEGIN, END, now)
    gate_totals(stage.ledger, BEGIN, END, now)


def bill_up_to(stage: Stage, now: datetime) -> Finalized:
    """The same, and final."""
    price_up_to(stage, now)
    done = finalize_invoices(stage.ledger, BEGIN, END, now)
    assert (done.held, done.failures) == ((), ())
    return done


def by_month(stage: Stage, shop: Shop) -> dict[int, InvoiceRecord]:
    """The invoices of the subscription's periods that are not void, by the month of their period."""
    kept = [each for each in stage.invoices(shop) if each.status is not InvoiceStatus.VOID and each.subscription_id]
    return {invoice.period.start.month: invoice for invoice in kept}


def adjustments(stage: Stage, shop: Shop) -> Sequence[AdjustmentRecord]:
    """All of an environment, the first found first."""
    with stage.ledger.read() as session:
        found = line_adjustments.list_adjustments(session, shop.scope, limit=100).items
    return sorted(found, key=lambda one: (one.created_at, one.id))


def october(stage: Stage, count: int = 900, **subscribed: Any) -> tuple[Shop, SubscriptionRecord]:
    """A subscription whose October has a final invoice over so many events."""
    shop = stage.shop()
    subscription = stage.subscribe(shop, **subscribed)
    stage.send(shop, count, at=OCTOBER_10)
    bill_up_to(stage, datetime(2024, 11, 2, tzinfo=UTC))
    return shop, subscription
