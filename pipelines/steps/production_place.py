"""What the production checklist looks at, and what it says of each point."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing.scope import Scope
from ledger.db import Ledger
from ledger.secretbox import SecretBox
from pipelines.steps.connections import Gateways
from warehouse_sql.client import Warehouse

__all__ = ["Finding", "Level", "Place"]


class Level(StrEnum):
    GREEN = "green"
    AMBER = "amber"
    RED = "red"


@dataclass(frozen=True)
class Finding:
    """One point of the list; `way_out` says what to do where it is not green."""

    check: str
    level: Level
    detail: str
    way_out: str | None = None


@dataclass(frozen=True)
class Place:
    """What is looked at. `box` is None where no encryption key is set; `public_url` is where Stripe reaches the API.

    `sends_alerts` says that alerts have an address, `support_url` where the procedures for support are written down.
    """

    ledger: Ledger
    warehouse: Warehouse
    gateways: Gateways
    box: SecretBox | None
    scope: Scope
    public_url: str
    sends_alerts: bool
    support_url: str
    now: datetime

    @property
    def webhook_url(self) -> str:
        base = self.public_url.rstrip("/")
        return f"{base}/api/v1/webhooks/stripe/{self.scope.tenant_id}/{self.scope.environment_id}"
