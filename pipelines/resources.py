"""What the assets work with, put together from the settings: the one place here that reads them or owns a clock."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from cryptography.fernet import Fernet

from integrations.stripe.gateway import StripeGateway
from ledger.db import Ledger
from ledger.secretbox import SecretBox
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.connections import Gateways
from settings import Settings, load_settings
from warehouse_sql.client import Warehouse

__all__ = ["Tally", "tally", "tally_of"]

# A month of rollups is built in one statement; somebody who waits for an answer gets less.
_LONGEST_QUERY_SECONDS = 900


@dataclass(frozen=True)
class Tally:
    """The stores, the way to the payment provider, the time, and what the run works on. A test hands in its own."""

    ledger: Ledger
    warehouse: Warehouse
    gateways: Gateways
    clock: Callable[[], datetime]
    chosen: Chosen = EVERYTHING


@dg.resource(
    config_schema={
        "tenant_id": dg.Field(str, default_value="", description="Work on this tenant only."),
        "environment_id": dg.Field(str, default_value="", description="Work on this environment only."),
        "subscription_id": dg.Field(str, default_value="", description="Bill this subscription only."),
        "meter_id": dg.Field(str, default_value="", description="Build the usage of this meter only."),
        "after_grace": dg.Field(
            bool, default_value=False, description="Bill a period only when its environment's grace is over."
        ),
    },
    description="Ledger, warehouse and payment provider at the addresses in the TALLY_ settings, and what to work on.",
)
def tally(context: dg.InitResourceContext) -> Iterator[Tally]:
    """The real parts. Nothing is contacted before it is used; all connections are closed after the run."""
    parts = tally_of(load_settings(), Chosen(**context.resource_config))
    try:
        yield parts
    finally:
        parts.warehouse.close()
        parts.ledger.dispose()


def tally_of(settings: Settings, chosen: Chosen = EVERYTHING) -> Tally:
    """The parts that the settings name."""
    ledger = Ledger(settings.resolved_ledger_url)
    warehouse = Warehouse(
        settings.warehouse_url,
        settings.warehouse_user,
        settings.warehouse_password.get_secret_value(),
        settings.warehouse_database,
        read_timeout_seconds=_LONGEST_QUERY_SECONDS,
    )
    # Nothing is sealed here. Without a configured key a box that opens nothing makes each connection say what is wrong.
    ring = settings.encryption_key_ring or {"not configured": Fernet.generate_key().decode()}
    box = SecretBox(ring, next(iter(ring)))
    api_base = settings.stripe_api_base or None
    gateways = Gateways(ledger, box, lambda secret_key: StripeGateway(secret_key, api_base))
    return Tally(ledger, warehouse, gateways, lambda: datetime.now(UTC), chosen)
