"""Use cases: another name for a plan, and its end for new subscriptions. Where plans are sent out, Stripe follows."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.orm import Session

from billing.scope import Scope
from ledger.store import plans
from ledger.store.plans import PlanRecord
from pipelines.steps.ask_mirror import ask_mirror

__all__ = ["archive_plan", "update_plan"]


def update_plan(
    session: Session, scope: Scope, plan_id: str, changes: Mapping[str, str | None], now: datetime
) -> PlanRecord:
    """As `ledger.store.plans.update_plan`."""
    changed = plans.update_plan(session, scope, plan_id, changes, now)
    ask_mirror(session, scope, "plan", changed.id, now)
    return changed


def archive_plan(session: Session, scope: Scope, plan_id: str, now: datetime) -> PlanRecord:
    """As `ledger.store.plans.archive_plan`."""
    archived = plans.archive_plan(session, scope, plan_id, now)
    ask_mirror(session, scope, "plan", archived.id, now)
    return archived
