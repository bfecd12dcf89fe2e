"""The parts that use cases work with, put together from the settings: stores, the way to the provider, the time.

Without Dagster, so that the command line puts together the same.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.fernet import Fernet

from integrations.alert_webhook import AlertWebhook
from integrations.stripe.gateway import StripeGateway
from ledger.db import Ledger
from ledger.secretbox import SecretBox
from pipelines.steps.call_pace import CallPaces
from pipelines.steps.chosen import EVERYTHING, Chosen
from pipelines.steps.connections import Gateways
from pipelines.steps.expected_quantities import EXPECTED, Expected
from settings import Settings
from warehouse_sql.client import Warehouse

__all__ = ["Tally", "tally_of"]

# A month of rollups is built in one statement; somebody who waits for an answer gets less.
_LONGEST_QUERY_SECONDS = 900


@dataclass(frozen=True)
class Tally:
    """The stores, the way to the payment provider, the time, and what the run works on. A test hands in its own.

    `send_alert` takes a message's id and body; None where alerts are only logged. Today is rolled up again after
    `usage_refresh`; `api_url` is where people reach the API.
    """

    ledger: Ledger
    warehouse: Warehouse
    gateways: Gateways
    clock: Callable[[], datetime]
    chosen: Chosen = EVERYTHING
    expected: Expected = EXPECTED
    send_alert: Callable[[str, str], None] | None = None
    usage_refresh: timedelta = timedelta(minutes=5)
    api_url: str = "http://127.0.0.1:8080"


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
    paces = CallPaces(ledger, _now, time.sleep)
    gateways = Gateways(
        ledger, box, lambda secret_key, pace=None: StripeGateway(secret_key, api_base, pace=pace), paces
    )
    expected = Expected(settings.quantity_periods, settings.quantity_jump, settings.quantity_drop)
    to = AlertWebhook(settings.alert_url, settings.alert_secret_list, _now).send if settings.alert_url else None
    return Tally(
        ledger,
        warehouse,
        gateways,
        _now,
        chosen,
        expected,
        send_alert=to,
        usage_refresh=timedelta(seconds=settings.usage_refresh_seconds),
        api_url=settings.public_url.rstrip("/"),
    )


def _now() -> datetime:
    return datetime.now(UTC)
