"""Asking for a plan or a subscription to be shown at the provider, in the transaction that has changed it."""

from datetime import datetime

from sqlalchemy.orm import Session

from billing.scope import Scope
from ledger.store import connections, outbox
from pipelines.steps.connections import PROVIDER
from pipelines.steps.sync_config import syncs

__all__ = ["ask_mirror"]


def ask_mirror(session: Session, scope: Scope, entity: str, entity_id: str, now: datetime) -> None:
    """Puts a `plan` or `subscription` into the outbox, where the active connection sends such out."""
    connection = connections.active(session, scope, PROVIDER)
    if connection is not None and syncs(connection.sync_config, entity, "outbound"):
        outbox.enqueue(session, scope, f"{entity}.sync", entity_id, now)
