"""One comparison of our books with the provider's: what is compared, what differs, and what its parts look up."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from billing.money import format_decimal
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import mappings, payment_history
from ledger.store.mappings import MappingRecord
from pipelines.steps.connections import Gateways, Link

__all__ = ["JUST_MADE", "PAGE", "Comparison", "Difference", "in_history", "in_words"]

PAGE = 100
# An object of ours may have been made just after our list was read; the provider's clock may differ a little.
JUST_MADE = timedelta(minutes=5)


@dataclass(frozen=True)
class Difference:
    """`kind` names it; `ours` and `theirs` are the two sides in words; `repaired` says that it is so no longer."""

    kind: str
    entity: str
    entity_id: str | None
    provider_id: str | None
    ours: str
    theirs: str
    repaired: bool = False


@dataclass(frozen=True)
class Comparison:
    """What was made since then on either side. Without `repair` nothing is written."""

    ledger: Ledger
    scope: Scope
    gateways: Gateways
    link: Link
    since: datetime
    now: datetime
    repair: bool

    def is_settled(self, made_at: datetime) -> bool:
        """Whether what was made then had the time to reach the provider by itself; repairing need not wait."""
        return self.repair or made_at <= self.now - JUST_MADE

    def mapping(self, entity: str, entity_id: str) -> MappingRecord | None:
        """What stands for one of our rows."""
        with self.ledger.read() as session:
            return mappings.get_mapping(session, self.scope, self.link.connection.id, entity, entity_id)

    def mappings(self, entity: str) -> Iterator[MappingRecord]:
        """Every mapping of a kind that was made since then, newest first."""
        cursor = None
        while True:
            with self.ledger.read() as session:
                page = mappings.list_mappings(
                    session,
                    self.scope,
                    connection_id=self.link.connection.id,
                    entity=entity,
                    cursor=cursor,
                    limit=PAGE,
                )
            yield from (each for each in page.items if each.created_at >= self.since)
            cursor = page.next_cursor
            if cursor is None:
                return

    def is_mapped(self, entity: str, provider_id: str) -> bool:
        """Also by an earlier connection to the same account, or by a row of ours that is older than the list."""
        with self.ledger.read() as session:
            known = mappings.list_mappings(session, self.scope, entity=entity, provider_id=provider_id, limit=1)
        return bool(known.items)


def in_history(work: Comparison, payment_id: str, kind: str, provider_id: str, currency: str) -> str | None:
    """What the history of a payment of ours says of a refund or dispute, in words; None where it does not know it."""
    with work.ledger.read() as session:
        history = payment_history.list_history(session, work.scope, payment_id)
    known = next((each for each in history if each.kind == kind and each.gateway_id == provider_id), None)
    return None if known is None else in_words(known.status, known.amount, currency)


def in_words(status: str, amount: Decimal, currency: str) -> str:
    """
    >>> in_words("succeeded", Decimal("18.50"), "USD")
    'succeeded, 18.50 USD'
    """
    return f"{status}, {format_decimal(amount)} {currency}"
