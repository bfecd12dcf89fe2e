"""Use case: the events that came after the invoice of their time, and what became of each (M5). Reads only."""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy.orm import Session

from billing.line_adjustment import AdjustmentState
from billing.meter import Meter
from billing.scope import Scope
from ledger.db import Ledger
from ledger.page import cursor_invalid
from ledger.store import customers, invoices, line_adjustments, meters
from ledger.store.invoices import InvoiceRecord
from ledger.store.line_adjustments import AdjustmentRecord
from warehouse_sql.client import Warehouse
from warehouse_sql.late_events import LateEvent, Received, late_events

__all__ = ["LateEventFilters", "LateOutcome", "LatePage", "MissedEvent", "list_late_events"]

_TICK = timedelta(microseconds=1)


class LateOutcome(StrEnum):
    """What became of a late event; the first five are those of its adjustment."""

    PENDING = "pending"
    ON_DRAFT = "on_draft"
    BILLED = "billed"
    CREDITED = "credited"
    WITHDRAWN = "withdrawn"
    NO_DIFFERENCE = "no_difference"
    NOT_COUNTED = "not_counted"


@dataclass(frozen=True)
class LateEventFilters:
    """Our ids; `invoice_id` is the invoice that was missed, `since` when the event was received. Without `outcomes` all
    of them."""

    customer_id: str | None = None
    meter_id: str | None = None
    subscription_id: str | None = None
    invoice_id: str | None = None
    since: datetime | None = None
    outcomes: frozenset[LateOutcome] = frozenset()

    def takes(self, outcome: LateOutcome) -> bool:
        return not self.outcomes or outcome in self.outcomes


@dataclass(frozen=True)
class MissedEvent:
    """An event and the invoice that it missed, by `late_by`: from the moment up to which the invoice had seen events to
    the arrival. `customer_id` is the caller's own (external) id."""

    event: LateEvent
    customer_id: str
    late_by: timedelta
    invoice: InvoiceRecord
    adjustment: AdjustmentRecord
    outcome: LateOutcome


@dataclass(frozen=True)
class LatePage:
    """By invoice line, the newest find first; within it the last received first. What was received up to `looked_until`
    has been looked at, None where nothing has."""

    items: list[MissedEvent]
    next_cursor: str | None
    looked_until: datetime | None


@dataclass(frozen=True)
class _Group:
    """The late events of one adjustment, with what is read for them."""

    adjustment: AdjustmentRecord
    invoice: InvoiceRecord
    customer_id: str
    meter: Meter
    received: Received
    seen_by_invoice: datetime


def list_late_events(
    ledger: Ledger,
    warehouse: Warehouse,
    scope: Scope,
    filters: LateEventFilters,
    *,
    cursor: str | None = None,
    limit: int,
) -> LatePage:
    """A page of late events. InvalidInput `cursor_invalid`; NotFound of the customer; Unavailable."""
    outer, inner = (None, None) if cursor is None else _read_cursor(cursor)
    items: list[MissedEvent] = []
    following: str | None = None
    with ledger.read() as session:
        look = line_adjustments.looks(session).get(scope)
    for place, after, group in _groups(ledger, scope, filters, outer, limit):
        inner, missed = _read_group(warehouse, scope, filters, group, inner, limit - len(items))
        items += missed
        if inner is not None:
            following = _cursor(place, inner)
            break
        if len(items) == limit:
            following = None if after is None else _cursor(after, None)
            break
    return LatePage(items, following, None if look is None else look.watermark)


def _read_group(
    warehouse: Warehouse, scope: Scope, filters: LateEventFilters, group: _Group, cursor: str | None, limit: int
) -> tuple[str | None, list[MissedEvent]]:
    """The next events of a group that are asked for, at most `limit`, and the cursor at which it goes on."""
    kept: list[MissedEvent] = []
    if not {_outcome(group, counts=True), LateOutcome.NOT_COUNTED} & (filters.outcomes or set(LateOutcome)):
        return None, kept
    while True:
        page = late_events(
            warehouse,
            scope,
            group.meter,
            group.adjustment.period,
            group.customer_id,
            group.received,
            cursor=cursor,
            limit=limit - len(kept),
        )
        cursor = page.next_cursor
        found = (_missed(group, event) for event in page.items)
        kept += [missed for missed in found if filters.takes(missed.outcome)]
        if cursor is None or len(kept) == limit:
            return cursor, kept


def _groups(
    ledger: Ledger, scope: Scope, filters: LateEventFilters, cursor: str | None, limit: int
) -> Iterator[tuple[str | None, str | None, _Group]]:
    """The adjustments that have late events, each with the cursor at which it is the first one, and that after it."""
    while True:
        with ledger.read() as session:
            customer_id = filters.customer_id
            if customer_id is not None:
                customer_id = customers.get_customer(session, scope, customer_id).id
            found = line_adjustments.list_adjustments(
                session,
                scope,
                customer_id=customer_id,
                subscription_id=filters.subscription_id,
                meter_id=filters.meter_id,
                invoice_id=filters.invoice_id,
                with_events=True,
                since=filters.since,
                cursor=cursor,
                limit=limit,
            )
            groups = [_group(session, scope, one, filters.since) for one in found.items]
        for number, group in enumerate(groups):
            is_last = number == len(groups) - 1
            after = found.next_cursor if is_last else line_adjustments.cursor_after(found.items[number])
            yield cursor, after, group
            cursor = after
        if found.next_cursor is None:
            return


def _group(session: Session, scope: Scope, one: AdjustmentRecord, since: datetime | None) -> _Group:
    invoice = invoices.get_invoice(session, scope, one.invoice_id)
    line = next(line for line in invoice.own_lines if line.id == one.line_id)
    if one.meter_id is None or one.seen_before is None or one.watermark is None or line.watermark is None:
        raise ValueError(f"{one.id} has late events and no meter or watermark")
    after = one.seen_before if since is None else max(one.seen_before, since - _TICK)
    return _Group(
        one,
        invoice,
        customers.get_customer(session, scope, one.customer_id).external_id,
        meters.get_meter(session, scope, one.meter_id, one.meter_version),
        Received(after, one.watermark),
        line.watermark,
    )


def _missed(group: _Group, event: LateEvent) -> MissedEvent:
    late_by = event.ingested_at - group.seen_by_invoice
    outcome = _outcome(group, counts=event.counts)
    return MissedEvent(event, group.customer_id, late_by, group.invoice, group.adjustment, outcome)


def _outcome(group: _Group, *, counts: bool) -> LateOutcome:
    if not counts:
        return LateOutcome.NOT_COUNTED
    state = group.adjustment.state
    return LateOutcome.NO_DIFFERENCE if state is AdjustmentState.EVEN else LateOutcome(state.value)


def _cursor(outer: str | None, inner: str | None) -> str:
    return base64.urlsafe_b64encode(json.dumps([outer, inner]).encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[str | None, str | None]:
    try:
        outer, inner = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, binascii.Error) as error:
        raise cursor_invalid() from error
    if not all(part is None or isinstance(part, str) for part in (outer, inner)):
        raise cursor_invalid()
    return outer, inner
