"""The composition root: everything that a request works with, built once from the settings."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property

from starlette.concurrency import run_in_threadpool

from api.callers import Callers
from api.limits import limits_of
from api.names import CustomerNames
from api.sources import SourceLimiter
from api.worker import Worker
from billing.errors import Unavailable
from billing.ports import GatewayFactory, WebhookVerifier
from billing.scope import Scope
from ingestion.event import Limits
from ingestion.intake import Bounds, Intake
from ingestion.journal import Journal
from ingestion.writer import EventWriter
from integrations.stripe.gateway import StripeGateway
from integrations.stripe.webhooks import verify
from ledger.db import Ledger
from ledger.secretbox import SecretBox
from ledger.store import connections
from pipelines.steps.apply_corrections import apply_corrections
from pipelines.steps.call_pace import CallPaces
from pipelines.steps.connections import PROVIDER, Gateways, Link
from pipelines.steps.request_rerate import rate_next
from pipelines.steps.stripe_backlog import overdue_work
from pipelines.steps.stripe_sweep import sweep
from settings import Settings
from warehouse_sql.client import Warehouse

__all__ = ["Deps", "build_deps"]

# Small, so that a stop does not wait long and that fresh work is not held up by a backlog.
_AT_ONCE = 20
_REQUEST_IS_OVER = timedelta(minutes=2)


@dataclass(frozen=True)
class Deps:
    """Shared by all requests; every part is safe to use from several threads."""

    ledger: Ledger
    warehouse: Warehouse
    intake: Intake
    sealing: SecretBox | None
    clock: Callable[[], datetime]
    gateway_factory: GatewayFactory
    verify_webhook: WebhookVerifier
    settings: Settings
    limits: Limits
    callers: Callers = field(init=False)
    names: CustomerNames = field(init=False)
    worker: Worker = field(init=False)
    webhook_sources: SourceLimiter = field(init=False)
    # Two bodies at once: more would not be decoded sooner, and each may take its bound of memory.
    decoding: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "decode"))

    def __post_init__(self) -> None:
        object.__setattr__(self, "callers", Callers(self.ledger))
        object.__setattr__(self, "names", CustomerNames(self.ledger))
        object.__setattr__(self, "worker", Worker(self._work_off))
        object.__setattr__(self, "webhook_sources", SourceLimiter(self.settings.webhook_requests_per_minute))

    @property
    def box(self) -> SecretBox:
        """What seals provider secrets. Unavailable while no encryption key is set: nothing is stored in the clear."""
        if self.sealing is None:
            raise Unavailable(
                "encryption_key_missing",
                "No encryption key is configured, so no secret can be stored.",
                hint="Set TALLY_ENCRYPTION_KEYS and restart.",
            )
        return self.sealing

    @cached_property
    def gateways(self) -> Gateways:
        """Opens connections to the payment provider; Unavailable while no encryption key is set."""
        return Gateways(self.ledger, self.box, self.gateway_factory, CallPaces(self.ledger, self.clock, time.sleep))

    def active_link(self, scope: Scope) -> Link | None:
        """The environment's active connection, None where there is none.

        Unlike `gateways.active` it asks for an encryption key only where there is something to open.
        """
        with self.ledger.read() as session:
            connected = connections.active(session, scope, PROVIDER) is not None
        return self.gateways.active(scope) if connected else None

    def _work_off(self) -> int:
        """A bounded round over corrections, the inbox, the outbox and ratings; returns how much of it got done."""
        return self._finish_corrections() + self._sweep() + self._rate_again()

    def _finish_corrections(self) -> int:
        """Those whose request has died: the others finish their own."""
        try:
            return apply_corrections(self.ledger, self.warehouse, self.clock(), after=_REQUEST_IS_OVER).applied
        except Unavailable:
            # They wait in the ledger; the provider's work need not wait for the warehouse.
            return 0

    def _sweep(self) -> int:
        # A look first: claiming takes the ledger's write lock, which an idle round has no business with.
        if self.sealing is None or not overdue_work(self.ledger, self.clock()):
            return 0
        swept = sweep(self.ledger, self.gateways, self.clock(), limit=_AT_ONCE)
        return swept.webhooks.processed + swept.webhooks.ignored + swept.done

    def _rate_again(self) -> int:
        """The next invoices of a rating that an environment has asked for."""
        try:
            return rate_next(self.ledger, self.warehouse, self.clock())
        except Unavailable:
            return 0

    def start(self) -> None:
        """Begin what goes on beside the requests. Called in the event loop."""
        self.worker.start()
        self.intake.start()

    async def close(self) -> None:
        """Finish what has been taken in and give back all connections."""
        await run_in_threadpool(self.worker.stop)
        await self.intake.close()
        self.decoding.shutdown()
        self.warehouse.close()
        self.ledger.dispose()


def build_deps(settings: Settings) -> Deps:
    """The real parts at the addresses that the settings name. Nothing is contacted yet."""
    warehouse = Warehouse(
        settings.warehouse_url,
        settings.warehouse_user,
        settings.warehouse_password.get_secret_value(),
        settings.warehouse_database,
    )
    ring = settings.encryption_key_ring
    return Deps(
        ledger=Ledger(settings.resolved_ledger_url),
        warehouse=warehouse,
        intake=Intake(
            EventWriter(warehouse).insert,
            Journal(settings.home / "journal", settings.journal_max_bytes),
            Bounds(
                group_bytes=settings.ingest_group_bytes,
                waiting_bytes=settings.ingest_waiting_bytes,
                slow_after=settings.ingest_slow_after_seconds,
                recent_events=settings.ingest_recent_events,
            ),
        ),
        sealing=SecretBox(ring, next(iter(ring))) if ring else None,
        clock=lambda: datetime.now(UTC),
        gateway_factory=lambda secret_key, pace=None: StripeGateway(
            secret_key, settings.stripe_api_base or None, pace=pace
        ),
        verify_webhook=verify,
        settings=settings,
        limits=limits_of(settings),
    )
