"""Which part of its days a run works on: everything, or one tenant, environment, subscription or meter."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from billing.scope import Scope
from ledger.store import tenants

__all__ = ["EVERYTHING", "Chosen", "cutoff"]


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


def cutoff(session: Session, chosen: Chosen, now: datetime) -> Callable[[Scope], datetime]:
    """When a period of an environment must have ended to be due: by now, or by its grace before now."""
    if not chosen.after_grace:
        return lambda scope: now
    graces = tenants.billing_graces(session)
    return lambda scope: now - graces[scope]
