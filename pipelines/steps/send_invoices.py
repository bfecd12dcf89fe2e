"""Sends finalized invoices of one environment to the payment provider: together where it is their first try, and then
one by one what is left. Calls run at the same time, as many as the connection's pace makes use of; invoices of one
customer go one after the other."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from billing.errors import TallyError, Unavailable
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store.invoices import UnsentInvoice
from pipelines.steps.connections import Gateways, Link
from pipelines.steps.send_together import MOST_AT_ONCE, Misses, send_together
from pipelines.steps.sync_invoice import SyncResult, sync

__all__ = ["send_invoices"]

log = logging.getLogger(__name__)


def send_invoices(
    ledger: Ledger, gateways: Gateways, scope: Scope, unsent: Sequence[UnsentInvoice], now: datetime
) -> dict[str, SyncResult | Exception]:
    """What became of each, by its id, or the error of the last try. Once the provider has not answered three times in a
    row, what is left is not tried: Unavailable `provider_unavailable`."""
    misses = Misses()
    link = _link(gateways, scope)
    sent: dict[str, SyncResult | Exception] = {}
    with ThreadPoolExecutor(1 if link is None else link.calls_at_once) as pool:
        if link is not None and link.sends_invoices:
            try:
                for start in range(0, len(unsent), MOST_AT_ONCE):
                    some = unsent[start : start + MOST_AT_ONCE]
                    sent |= send_together(ledger, scope, link, some, pool, misses, now)
            except Exception as error:  # noqa: BLE001 - one by one each says for itself what is wrong
                told = error.code if isinstance(error, TallyError) else type(error).__name__
                log.warning("invoices of environment %s are sent one by one: %s", scope.environment_id, told)

        def send(of_customer: Sequence[UnsentInvoice]) -> list[tuple[str, SyncResult | Exception]]:
            return [(each.id, _send(ledger, gateways, scope, each, misses, now)) for each in of_customer]

        by_customer: defaultdict[str, list[UnsentInvoice]] = defaultdict(list)
        for invoice in unsent:
            if invoice.id not in sent:
                by_customer[invoice.customer_id].append(invoice)
        for pairs in pool.map(send, by_customer.values()):
            sent |= dict(pairs)
    return sent


def _link(gateways: Gateways, scope: Scope) -> Link | None:
    """None also where it cannot be opened: then each invoice says why, and waits."""
    try:
        return gateways.active(scope)
    except TallyError:
        return None


def _send(
    ledger: Ledger, gateways: Gateways, scope: Scope, invoice: UnsentInvoice, misses: Misses, now: datetime
) -> SyncResult | Exception:
    if misses.away:
        return Unavailable("provider_unavailable", "the provider did not answer before")
    try:
        result = sync(ledger, scope, gateways, invoice.id, now)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this invoice's alone
        if isinstance(error, Unavailable):
            misses.note(answered=False)
        return error
    misses.note(answered=True)
    return result
