"""The demo, phase by phase in the guide's order. Each function does one phase through the public API."""

import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from cli.bill import BILLING_ASSETS, USAGE_ASSETS, run_assets
from cli.demo.catalog import EVENT_NAME, METERS, feature_body, meter_body, plan_body
from cli.demo.client import ApiClient, DemoFailed
from cli.demo.recompute import expected_amounts
from cli.demo.stripe_side import GOOD_CARD, LATER_DECLINED_CARD, StripeSide
from cli.demo.trace import BillingPeriod

__all__ = ["Demo", "Outcome"]

_BULK = 1000
_SENT_TWICE_EVERY = 20
_PAYMENTS_LIMIT_SECONDS = 60.0
_RUN_LIMIT_SECONDS = 180.0
_SETTLED = {"paid", "failed"}


@dataclass(frozen=True)
class Outcome:
    """One customer's row of the final table; amounts are decimal texts of the plan's currency."""

    index: int
    customer_id: str
    usage: dict[str, str]
    billed: str
    expected: str
    stripe_total: str
    payment_status: str
    agrees: bool


@dataclass
class Demo:
    """One demo run on a stack that answers. `tell` receives what a reader should see."""

    public: Mapping[str, str]
    trace: pl.DataFrame
    period: BillingPeriod
    customers: int
    tell: Callable[[str], None]
    plan: dict[str, Any] = field(default_factory=dict)
    _features: dict[str, str] = field(default_factory=dict)
    _ids: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._api = ApiClient(self.public["api"], self.public["api_key"])
        self._stripe_key = f"sk_test_{secrets.token_hex(16)}"
        self._stripe = StripeSide(self.public["sandbox"], self._stripe_key)

    def close(self) -> None:
        """Close the connections."""
        self._api.close()
        self._stripe.close()

    def run(self) -> list[Outcome]:
        """All phases; returns one outcome a customer. Raises DemoFailed where a phase does not do what it should."""
        self.connect()
        self.create_catalog()
        self.onboard_customers()
        self.send_usage()
        self.bill()
        return self.compare(self.await_payments())

    @property
    def feature_meters(self) -> dict[str, str]:
        """Feature id -> usage column, for whoever recomputes the plan's prices."""
        return {feature: name for name, feature in self._features.items()}

    def connect(self) -> None:
        """Phase 1: the Stripe connection with its webhook endpoint."""
        path = f"/api/v1/webhooks/stripe/{self.public['tenant_id']}/{self.public['environment_id']}"
        secret = self._stripe.register_webhook(f"{self.public['api']}{path}")
        connection = self._api.create(
            "/connections",
            {
                "name": "Stripe",
                "provider": "stripe",
                "secret_key": self._stripe_key,
                "webhook_secret": secret,
                # The sandbox limits nothing, and nobody should have to wait for it.
                "sync_config": {
                    "invoice": {"inbound": False, "outbound": True},
                    "calls_per_second": 1000,
                    "endpoint_calls_per_second": 1000,
                },
            },
            key="demo-connection",
        )
        self.tell(f"1  connection  {connection['id']}, webhooks to {path}")

    def create_catalog(self) -> None:
        """Phase 2: meters, features, a plan."""
        for name in METERS:
            self._api.create("/meters", meter_body(name), key=f"demo-meter-{name}")
            feature = self._api.create("/features", feature_body(name), key=f"demo-feature-{name}")
            self._features[name] = feature["id"]
        self.plan = plan_body(self._features, self.period.interval)
        self._plan_id = self._api.create("/plans", self.plan, key="demo-plan")["id"]
        self.tell(f"2  catalog     {len(METERS)} meters and features, plan {self._plan_id}")

    def onboard_customers(self) -> None:
        """Phases 3 and 4: customers, cards through the checkout page, subscriptions."""
        with ThreadPoolExecutor(max_workers=4) as pool:
            self._ids = list(pool.map(self._onboard, range(self.customers)))
        self._stripe.await_default_cards(self.customers, _PAYMENTS_LIMIT_SECONDS)
        self.tell(
            f"3  customers   {self.customers} customers, {self.customers} cards saved through the checkout page "
            f"(customer {self._declined} will be declined)"
        )
        self.tell(f"4  subscribed  from {self.period.start:%Y-%m-%d %H:%M} UTC, {self.period.interval}")

    @property
    def _declined(self) -> int:
        return min(7, self.customers - 1)

    def _onboard(self, index: int) -> str:
        external_id = _external_id(index)
        customer = self._api.create(
            "/customers",
            {"name": f"Customer {index}", "email": f"billing+{index}@example.com", "customer_id": external_id},
            key=f"demo-customer-{index}",
        )
        setup = self._api.create(
            f"/payments/customers/{customer['id']}/setup/intent",
            {
                "success_url": "https://example.com/payment/success",
                "cancel_url": "https://example.com/payment/cancel",
                "provider": "stripe",
                "set_default": True,
            },
            key=f"demo-card-{index}",
        )
        card = LATER_DECLINED_CARD if index == self._declined else GOOD_CARD
        self._stripe.save_card(setup["checkout_url"], card)
        self._api.create(
            "/subscriptions",
            {
                "customer_id": customer["id"],
                "plan_id": self._plan_id,
                "start_date": _rfc3339(self.period.start),
                "billing_anchor": "subscription_start",
                "collection_method": "charge_automatically",
            },
            key=f"demo-subscription-{index}",
        )
        return str(customer["id"])

    def send_usage(self) -> None:
        """Phase 5: every row of the trace in gzip bulks, 5 % twice, a few malformed ones in between."""
        started = time.monotonic()
        sent = twice = refused = 0
        for number, bulk in enumerate(self._bulks()):
            answer = self._api.send_events(bulk.events)
            named = sorted(item["index"] for item in answer["refused"])
            if named != bulk.malformed:
                raise DemoFailed(f"bulk {number}: refused {named}, expected {bulk.malformed}")
            sent += bulk.fresh
            twice += len(bulk.events) - bulk.fresh - len(bulk.malformed)
            refused += len(named)
        seconds = time.monotonic() - started
        self.tell(
            f"5  usage       {sent:,} events in bulks of {_BULK}, {twice:,} of them sent twice, "
            f"{refused} malformed ones refused by index ({sent / seconds:,.0f} events/s)"
        )
        self._check_usage_answers()

    def _bulks(self) -> Iterator["_Bulk"]:
        shuffled = random.Random(1)  # noqa: S311 - where the malformed ones lie, the same in every run
        rows = self.trace.iter_rows(named=True)
        again: list[dict[str, Any]] = []
        number = 0
        while True:
            events = [_event(row, self.customers) for _, row in zip(range(_BULK), rows, strict=False)]
            if not events and not again:
                return
            fresh = len(events)
            repeated = events[::_SENT_TWICE_EVERY]
            # Half of the repetitions come in the same bulk, half in the next one.
            events += [*again, *repeated[::2]]
            again = repeated[1::2]
            malformed: list[int] = []
            if fresh and number % 5 == 0:
                for wrong in _MALFORMED:
                    place = shuffled.randrange(len(events) + 1)
                    malformed = [i + (i >= place) for i in malformed] + [place]
                    events.insert(place, wrong)
            yield _Bulk(events, fresh, sorted(malformed))
            number += 1

    def _check_usage_answers(self) -> None:
        for name in METERS:
            answer = self._api.query(
                "/events/usage/meter",
                {
                    "meter_id": f"meter_{name}",
                    "customer_id": _external_id(0),
                    "start_time": _rfc3339(self.period.start),
                    "end_time": _rfc3339(self.period.end),
                },
            )
            self.tell(f"               {_external_id(0)} {name}: {answer['data'][0]['value']}")

    def bill(self) -> None:
        """Phase 6: rollups of the days, then the billing day, both through Dagster."""
        first, last = _ends(self.trace)
        usage, _ = run_assets(self.public["dagster"], USAGE_ASSETS, first.date(), last.date(), _RUN_LIMIT_SECONDS)
        self.tell(f"6  rollups     {first:%Y-%m-%d} to {last:%Y-%m-%d}: {self.public['dagster']}/runs/{usage}")
        billing_day: date = self.period.end.date()
        billing, failed_checks = run_assets(
            self.public["dagster"], BILLING_ASSETS, billing_day, billing_day, _RUN_LIMIT_SECONDS
        )
        self.tell(f"   invoices    billing day {billing_day}: {self.public['dagster']}/runs/{billing}")
        for check in failed_checks:
            self.tell(f"               check failed: {check}")

    def await_payments(self) -> dict[str, dict[str, Any]]:
        """Phase 7: wait until webhooks have brought every payment's end back; returns invoices by customer id."""
        deadline = time.monotonic() + _PAYMENTS_LIMIT_SECONDS
        while True:
            invoices = self._invoices()
            open_ones = [i for i in invoices.values() if i["payment_status"] not in _SETTLED]
            if len(invoices) == self.customers and not open_ones:
                break
            if time.monotonic() > deadline:
                self.tell(f"7  payments    {len(open_ones)} still open after {_PAYMENTS_LIMIT_SECONDS:.0f} s")
                return invoices
            time.sleep(0.2)
        paid = sum(1 for invoice in invoices.values() if invoice["payment_status"] == "paid")
        self.tell(f"7  payments    {paid} paid, {len(invoices) - paid} declined, as the webhooks told")
        return invoices

    def _invoices(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        cursor: dict[str, str] = {}
        while True:
            page = self._api.get("/invoices", limit=100, **cursor)
            for invoice in page["items"]:
                if found.setdefault(invoice["customer_id"], invoice) is not invoice:
                    raise DemoFailed(f"two invoices for {invoice['customer_id']}")
            if not page["next_cursor"]:
                return found
            cursor = {"cursor": page["next_cursor"]}

    def compare(self, invoices: Mapping[str, dict[str, Any]]) -> list[Outcome]:
        """The proof: billed, recomputed from the file, and Stripe's total, customer by customer."""
        at_stripe: dict[str, list[dict[str, Any]]] = {}
        for invoice in self._stripe.invoices():
            at_stripe.setdefault(invoice["metadata"].get("tallyhouse_invoice_id", ""), []).append(invoice)
        outcomes = []
        for row in expected_amounts(self.trace, self.customers, self.plan, self.feature_meters).iter_rows(named=True):
            index = row["index"]
            customer_id = self._ids[index]
            invoice = invoices.get(customer_id, {})
            mirrored = at_stripe.get(invoice.get("id", "-"), [])
            stripe_total = (
                str(Decimal(mirrored[0]["total"]).scaleb(-2)) if len(mirrored) == 1 else f"{len(mirrored)} invoices"
            )
            usage = self._billed_usage(invoice)
            expected_usage = {name: str(row[name]) for name in METERS}
            expected = format(row["total"], "f")
            billed = str(invoice.get("total", "no invoice"))
            status = str(invoice.get("payment_status", "none"))
            wanted = "failed" if index == self._declined else "paid"
            outcomes.append(
                Outcome(
                    index=index,
                    customer_id=_external_id(index),
                    usage=usage,
                    billed=billed,
                    expected=expected,
                    stripe_total=stripe_total,
                    payment_status=status,
                    agrees=(billed == expected == stripe_total and usage == expected_usage and status == wanted),
                )
            )
        return outcomes

    def _billed_usage(self, invoice: Mapping[str, Any]) -> dict[str, str]:
        by_meter = {line.get("meter_id"): line["quantity"] for line in invoice.get("line_items", [])}
        return {name: str(by_meter.get(f"meter_{name}", "none")) for name in METERS}


@dataclass(frozen=True)
class _Bulk:
    events: list[dict[str, Any]]
    fresh: int
    malformed: list[int]


_MALFORMED: tuple[dict[str, Any], ...] = (
    {"event_name": EVENT_NAME, "timestamp": "2023-11-16T18:15:46Z", "event_id": "malformed-no-customer"},
    {"event_name": EVENT_NAME, "customer_id": "customer_000", "timestamp": "yesterday", "event_id": "malformed-time"},
    {
        "event_name": "",
        "customer_id": "customer_000",
        "timestamp": "2023-11-16T18:15:46Z",
        "event_id": "malformed-name",
    },
)


def _event(row: Mapping[str, Any], customers: int) -> dict[str, Any]:
    return {
        "event_id": f"trace-{row['row']}",
        "event_name": EVENT_NAME,
        "customer_id": _external_id(row["row"] % customers),
        "timestamp": _rfc3339(row["at"]),
        "properties": {
            "prompt_tokens": row["prompt_tokens"],
            "completion_tokens": row["completion_tokens"],
            "service": "conversation",
        },
        "idempotency_key": f"trace-{row['row']}",
    }


def _external_id(index: int) -> str:
    return f"customer_{index:03d}"


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _ends(trace: pl.DataFrame) -> tuple[datetime, datetime]:
    first, last = trace.select(first=pl.col("at").min(), last=pl.col("at").max()).row(0)
    return first, last
