"""The pipeline on real stores, run in process: a month of events goes in, invoices come out."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
from cryptography.fernet import Fernet

from billing.meter import parse_definition
from billing.price import parse_price
from billing.scope import Scope
from ingestion.event import Event
from ingestion.writer import EventWriter
from integrations.stripe.gateway import StripeGateway
from ledger.db import Ledger
from ledger.secretbox import SecretBox
from ledger.store import customers, features, invoices, meters, plans, subscriptions
from ledger.store.invoices import InvoiceRecord
from ledger.store.subscriptions import SubscriptionRecord
from pipelines.assets.daily import CODE_VERSION
from pipelines.checks import CHECKS
from pipelines.day_range import partition_tags, window_of_tags
from pipelines.resources import Tally
from pipelines.schedules import ASSETS
from pipelines.steps.collect_quantities import collect_quantities
from pipelines.steps.connections import Gateways
from pipelines.steps.draft_invoices import draft_invoices
from pipelines.steps.finalize_invoices import Finalized, finalize_invoices
from pipelines.steps.gate_quantities import gate_quantities
from pipelines.steps.gate_totals import gate_totals
from pipelines.steps.price_invoices import price_invoices
from pipelines.steps.roll_up_usage import roll_up_usage
from tests.support.ledger_rows import a_scope
from warehouse_sql.client import Warehouse

OCTOBER = datetime(2024, 10, 1, tzinfo=UTC), datetime(2024, 11, 1, tzinfo=UTC)
BILLING_DAY = date(2024, 11, 1)
SET_UP = datetime(2024, 9, 1, tzinfo=UTC)
USAGE = ["events_reconciled", "usage_hourly"]
BILLING = [
    "billable_quantities",
    "late_adjustments",
    "draft_invoices",
    "priced_invoices",
    "finalized_invoices",
    "stripe_invoices",
]

GUIDE_PRICE: Mapping[str, Any] = {
    "pricing_model": "tiered",
    "unit_price": "0.01",
    "tiers": [
        {"up_to": 1000, "unit_price": "0.01", "flat_fee": "10.00"},
        {"up_to": 10000, "unit_price": "0.008"},
        {"up_to": None, "unit_price": "0.005"},
    ],
}


@dataclass(frozen=True)
class Shop:
    """One environment: a meter that counts `api.request`, one that sums `tokens`, and a plan."""

    scope: Scope
    plan_id: str


@dataclass
class Stage:
    """The stores, the clock's time and one Dagster instance; runs are made in this process."""

    ledger: Ledger
    warehouse: Warehouse
    now: datetime
    instance: dg.DagsterInstance
    box: SecretBox
    stripe_api_base: str | None = None

    @classmethod
    @contextmanager
    def open(cls, ledger: Ledger, warehouse: Warehouse, now: datetime) -> Iterator["Stage"]:
        with dg.DagsterInstance.ephemeral(settings={"python_logs": {"python_log_level": "ERROR"}}) as instance:
            yield cls(ledger, warehouse, now, instance, SecretBox({"k1": Fernet.generate_key()}, "k1"))

    def shop(
        self,
        tenant: str = "Acme Cloud",
        prices: Sequence[Mapping[str, Any]] = (GUIDE_PRICE,),
        aggregation: str = "count",
    ) -> Shop:
        """A tenant whose plan has the `prices`, all for one meter of `api.request`."""
        with self.ledger.begin() as session:
            scope = a_scope(session, tenant)
            what = {"type": "count"} if aggregation == "count" else {"type": aggregation, "property": "tokens"}
            definition = parse_definition({"name": "Requests", "event_name": "api.request", "aggregation": what})
            meter = meters.create_meter(session, scope, definition, "meter_api_requests", SET_UP)
            feature = features.create_feature(
                session,
                scope,
                name="API Calls",
                key="api_calls",
                feature_type="metered",
                meter_id=meter.id,
                now=SET_UP,
            )
            plan = plans.create_plan(
                session,
                scope,
                name="Professional Plan",
                key="professional_plan",
                billing_period="monthly",
                interval="P1M",
                currency="USD",
                prices=[plans.NewPrice(feature.id, "API Calls", parse_price(price)) for price in prices],
                now=SET_UP,
            )
        return Shop(scope, plan.id)

    def subscribe(self, shop: Shop, customer: str = "acme_corp_001", **other: Any) -> SubscriptionRecord:
        """A customer on the plan since 1 October."""
        with self.ledger.begin() as session:
            customer_id = customers.create_customer(
                session, shop.scope, name="Acme Corporation", external_id=customer, now=SET_UP
            ).id
            defaults: dict[str, Any] = {"start_date": OCTOBER[0], "timezone": "UTC", "now": SET_UP}
            return subscriptions.create_subscription(
                session, shop.scope, customer_id=customer_id, plan_id=shop.plan_id, **{**defaults, **other}
            )

    def send(
        self,
        shop: Shop,
        count: int,
        customer: str = "acme_corp_001",
        first: int = 0,
        at: datetime | None = None,
        **properties: str | None,
    ) -> None:
        """Events of identities `first` to `first + count`, spread over October or all at one moment."""
        events = [
            Event(
                event_id=f"{customer}-{number}",
                event_name="api.request",
                customer_id=customer,
                timestamp=at or OCTOBER[0] + timedelta(minutes=number * 2.5),
                properties={**properties},
            )
            for number in range(first, first + count)
        ]
        EventWriter(self.warehouse).write(shop.scope, events)

    def send_again(self, shop: Shop, identity: str, customer: str, at: datetime) -> None:
        """One event under an identity that was sent before."""
        event = Event("api.request", customer, f"{identity}-again", at, identity)
        EventWriter(self.warehouse).write(shop.scope, [event])

    @property
    def tally(self) -> Tally:
        """What the assets are given."""
        gateways = Gateways(
            self.ledger, self.box, lambda secret_key, _=None: StripeGateway(secret_key, self.stripe_api_base)
        )
        return Tally(self.ledger, self.warehouse, gateways, lambda: self.now)

    def run(
        self, assets: Sequence[str], first: date, last: date | None = None, tally: Tally | None = None
    ) -> dg.ExecuteInProcessResult:
        """One run of the assets with their checks over the days; does not raise when it fails."""
        return self._execute(dg.AssetSelection.assets(*assets), first, last or first, tally or self.tally)

    def _execute(
        self, selection: dg.AssetSelection, first: date, last: date, tally: Tally
    ) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [*ASSETS, *CHECKS],
            selection=selection,
            instance=self.instance,
            resources={"tally": tally},
            tags=partition_tags(first, last),
            partition_key=first.isoformat() if last == first else None,
            raise_on_error=False,
        )

    def roll_up(self) -> dg.ExecuteInProcessResult:
        """October's usage."""
        return self.run(USAGE, date(2024, 10, 1), date(2024, 10, 31))

    def roll_up_by_steps(self, *, force: bool = False) -> None:
        """The same without Dagster."""
        roll_up_usage(self.ledger, self.warehouse, *OCTOBER, self.now, force=force)

    def compare_rollups(self) -> dg.ExecuteInProcessResult:
        """The check of October's usage, without building it again."""
        checks = dg.AssetSelection.checks_for_assets(dg.AssetKey("usage_hourly"))
        return self._execute(checks, date(2024, 10, 1), date(2024, 10, 31), self.tally)

    def bill(self, **changed: Any) -> dg.ExecuteInProcessResult:
        """The billing day on which October ends."""
        return self.run(BILLING, BILLING_DAY, tally=replace(self.tally, **changed) if changed else None)

    def bill_by_steps(self, first: date = BILLING_DAY) -> Finalized:
        """The same without Dagster, which is slower and cannot execute two runs in one process at once."""
        self.bill_by_steps_up_to_finalizing(first)
        return finalize_invoices(self.ledger, *window_of_tags(partition_tags(first, BILLING_DAY)), self.now)

    def bill_by_steps_up_to_finalizing(self, first: date = BILLING_DAY) -> None:
        """Drafts that are priced and checked."""
        start, end = window_of_tags(partition_tags(first, BILLING_DAY))
        collect_quantities(self.ledger, self.warehouse, start, end, self.now)
        gate_quantities(self.ledger, self.warehouse, start, end, self.now)
        draft_invoices(self.ledger, start, end, self.now)
        price_invoices(self.ledger, start, end, self.now, CODE_VERSION)
        gate_totals(self.ledger, start, end, self.now)

    def invoices(self, shop: Shop, subscription: SubscriptionRecord | None = None) -> list[InvoiceRecord]:
        """All invoices of an environment or subscription."""
        with self.ledger.read() as session:
            found = invoices.list_invoices(
                session, shop.scope, subscription_id=subscription.id if subscription else None, limit=100
            )
        return found.items


def checks_of(run: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """The run's check evaluations by name."""
    return {evaluation.check_name: evaluation for evaluation in run.get_asset_check_evaluations()}


def metadata_of(run: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """What an asset told about its (only or last) materialization; of a table its rows."""
    (*_, last) = run.asset_materializations_for_node(asset)
    return {
        name: [dict(row.data) for row in value.records] if isinstance(value, dg.TableMetadataValue) else value.value
        for name, value in last.metadata.items()
    }
