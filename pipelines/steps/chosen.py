"""Which part of its days a run works on: everything, or one tenant, environment, subscription or meter."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from billing.errors import NotFound
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import selection, tenants

__all__ = ["EVERYTHING", "Chosen", "cutoff", "require_chosen"]


@dataclass(frozen=True)
class Chosen:
    """An empty id leaves nothing out; `after_grace` leaves out periods whose environment's grace is not over yet, and
    may leave out those that are billed."""

    tenant_id: str = ""
    environment_id: str = ""
    subscription_id: str = ""
    meter_id: str = ""
    after_grace: bool = False

    def takes(self, scope: Scope) -> bool:
        """Whether an environment is chosen."""
        return self.tenant_id in {"", scope.tenant_id} and self.environment_id in {"", scope.environment_id}

    def takes_subscription(self, scope: Scope, subscription_id: str | None) -> bool:
        """The same for a subscription; None is what belongs to none, such as an invoice that was made by hand."""
        return self.takes(scope) and self.subscription_id in {"", subscription_id}

    def takes_meter(self, scope: Scope, meter_id: str) -> bool:
        """The same for a meter."""
        return self.takes(scope) and self.meter_id in {"", meter_id}


EVERYTHING = Chosen()


def require_chosen(ledger: Ledger, chosen: Chosen) -> None:
    """NotFound `nothing_chosen` where an id names nothing: a mistyped one would look like a day without work.

    Unavailable as the ledger is.
    """
    ids = {
        "tenant_id": chosen.tenant_id,
        "environment_id": chosen.environment_id,
        "subscription_id": chosen.subscription_id,
        "meter_id": chosen.meter_id,
    }
    if not any(ids.values()):
        return
    with ledger.read() as session:
        field = selection.names_nothing(session, **ids)
    if field is not None:
        said = f"{ids[field]!r} names nothing that is there"
        hint = "It has to be in the tenant and environment that are given with it."
        raise NotFound("nothing_chosen", said, field=field, hint=hint)


def cutoff(session: Session, chosen: Chosen, now: datetime) -> Callable[[Scope], datetime]:
    """When a period of an environment must have ended to be due: by now, or by its grace before now."""
    if not chosen.after_grace:
        return lambda scope: now
    graces = tenants.billing_graces(session)
    return lambda scope: now - graces[scope]
