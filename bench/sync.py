"""How fast finalized invoices get to Stripe: by the product's own step, to a sandbox that limits nothing.

The sandbox is a process of its own and shares the machine, so CPU says more than the clock. Beside it the same calls
are sent bare, with bodies that were written before: what the machine does when nothing is computed around them.
"""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from sqlalchemy import insert, select, text

from bench.figures import BenchFailed, Goal, Machine
from bench.postgres import NoPostgres, create_database, running_postgres
from bench.scratch import usage_of
from billing.adjustments.adjust import DiscountTerms, InvoiceTerms, TaxTerms
from billing.invoice import LineDraft
from billing.one_off import OneOffItem, one_off_lines
from billing.period import Period
from billing.ports import OUR_INVOICE, CallPace, PaymentGateway
from billing.scope import Scope
from integrations.stripe.gateway import StripeGateway
from integrations.stripe.transport import Transport, call_name
from ledger.db import Ledger
from ledger.ids import new_id
from ledger.models import Customer, Invoice
from ledger.secretbox import SecretBox
from ledger.store import credit_grants, customers, invoices, tenants
from ledger.store.credit_grants import NewGrant
from pipelines.steps import connections, sync_customer
from pipelines.steps.call_pace import CallPaces
from pipelines.steps.connections import Gateways, NewConnection
from pipelines.steps.sync_invoices import sync_invoices

__all__ = ["Report", "Sent", "Sizes", "measure"]

_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_PERIOD: Final = Period(_START, datetime(2026, 2, 1, tzinfo=UTC))
_WANTED: Final = 100
_AT_ONCE: Final = 4
_START_SECONDS: Final = 300
# Of so many invoices the calls are kept, to be sent bare.
_KEPT: Final = 100
_ROWS_AT_ONCE: Final = 500
_ITEMS: Final = (("Base fee", "20.00"), ("Requests", "108.50"), ("Tokens", "31.07"))
# A quarter of the invoices: 159.57 less 10% and with 27.29 of tax, of which credit pays 5.00.
_ADJUSTED_EVERY: Final = 4
_TERMS: Final = InvoiceTerms(
    (DiscountTerms("disc_bench", "coupon_bench", "Early customer", percent_off=Decimal(10)),),
    (TaxTerms("txr_bench", "VAT", Decimal(19), inclusive=False),),
)
# Of an account that Stripe lets call fast enough.
_ALLOWED: Final = {"calls_per_second": 400, "endpoint_calls_per_second": 150}
_NO_TERMS: Final = InvoiceTerms()


@dataclass(frozen=True)
class Sizes:
    """`invoices` of a customer each, whom Stripe knows already; of three lines."""

    invoices: int = 1000


@dataclass(frozen=True)
class Sent:
    """One run over all invoices. CPU is in milliseconds for an invoice: of this process `cpu_ms`, of which `http_ms`
    went into sending and receiving, `client_ms` into the official client and reading its answers, `turns_ms` into
    keeping the pace, `steps_ms` into the rest, which is the ledger and what is decided; and of the two others. `calls`
    are those for an invoice by kind."""

    invoices: int
    seconds: float
    per_second: float
    calls_each: float
    calls: dict[str, float]
    cpu_ms: float
    http_ms: float
    client_ms: float
    turns_ms: float
    steps_ms: float
    postgres_ms: float
    sandbox_ms: float
    commits_each: float


@dataclass(frozen=True)
class Bare:
    """The same calls with nothing around them. `floor_ms` is what those for one invoice take of CPU in this process."""

    calls: int
    calls_per_second: float
    cpu_ms_each: float
    sandbox_ms_each: float
    floor_ms: float


@dataclass(frozen=True)
class Report:
    """`ratio` is our CPU through that of the bare calls; `per_core` what one core of ours could send a second."""

    machine: Machine
    ledger: str
    sent: Sent
    bare: Bare
    ratio: float
    per_core: float
    goals: tuple[Goal, ...]


def measure(sizes: Sizes, tell: Callable[[str], None]) -> Report:
    """Starts the sandbox, and PostgreSQL where the machine has it, sends all, and takes everything away.

    BenchFailed where an invoice is not at Stripe exactly once with its total in the end.
    """
    machine = Machine.at(datetime.now(UTC))
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="tally-bench-")))
        ledger = Ledger(stack.enter_context(_database(home)))
        stack.callback(ledger.dispose)
        ledger.migrate()
        sandbox = stack.enter_context(_sandbox())
        tell(f"{sizes.invoices:,} finalized invoices in {ledger.url.get_backend_name()}, their customers at Stripe")
        bench = _Bench(ledger, sandbox)
        bench.fill(sizes.invoices)
        tell("sending them")
        sent = bench.send(sizes.invoices)
        tell("the same calls, bare")
        bare = bench.bare(sent.calls_each)
        return Report(
            machine=machine,
            ledger=ledger.url.get_backend_name(),
            sent=sent,
            bare=bare,
            ratio=round(sent.cpu_ms / bare.floor_ms, 2),
            per_core=round(1000 / sent.cpu_ms, 1),
            goals=(
                Goal("invoices a second", sent.per_second, _WANTED, at_most=False),
                Goal("ms of our CPU for an invoice", sent.cpu_ms, 1000 / _WANTED, at_most=True),
            ),
        )


@contextmanager
def _database(home: Path) -> Iterator[str]:
    with ExitStack() as stack:
        try:
            url = create_database(stack.enter_context(running_postgres(durable=True)), "bench")
        except NoPostgres:
            url = f"sqlite:///{home / 'ledger.sqlite3'}"
        yield url


@dataclass(frozen=True)
class _Sandbox:
    process: subprocess.Popen[str]
    url: str


@contextmanager
def _sandbox() -> Iterator[_Sandbox]:
    command = [sys.executable, "-m", "integrations.stripe.sandbox", "--memory"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:  # noqa: S603 -- our own module
        try:
            timer = threading.Timer(_START_SECONDS, process.kill)
            timer.start()
            line = cast("Any", process.stdout).readline()
            timer.cancel()
            if not line.startswith("ready "):
                raise BenchFailed("the sandbox did not start")
            yield _Sandbox(process, line.removeprefix("ready ").strip())
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()


@dataclass
class _Watch:
    """What the calls of one run took, summed over its threads, and the calls themselves for some of the invoices."""

    http_seconds: float = 0.0
    turn_seconds: float = 0.0
    gateway_seconds: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    kept: defaultdict[str, list[tuple[str, str, str]]] = field(default_factory=lambda: defaultdict(list))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def http(self, method: str, url: str, body: str, answer: str, seconds: float) -> None:
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        with self.lock:
            self.http_seconds += seconds
            self.calls[call_name(method, url)] += 1
            found = re.search(r"[/=](in_\w+)", path)
            if found is None and parts.path == "/v1/invoices" and method.lower() == "post":
                found = re.search(r'"id": ?"(in_\w+)"', answer)
            if found is not None and (found[1] in self.kept or len(self.kept) < _KEPT):
                self.kept[found[1]].append((method.upper(), path.replace(found[1], "{id}"), body))


class _Watched(Transport):
    def __init__(self, base: str, watch: _Watch, pace: CallPace | None) -> None:
        super().__init__(base, (10, 60))
        self._turns = pace
        self._watch = watch

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        began = time.thread_time()
        if self._turns is not None:
            self._turns.wait(call_name(method, url))
        with self._watch.lock:
            self._watch.turn_seconds += time.thread_time() - began
        began = time.thread_time()
        answer = super().request(method, url, headers, post_data)
        self._watch.http(method, url, post_data or "", answer[0], time.thread_time() - began)
        return answer


class _Timed:
    """A gateway whose calls are timed, by the CPU of the thread that makes them."""

    def __init__(self, inner: PaymentGateway, watch: _Watch) -> None:
        self._inner = inner
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            try:
                return method(*args, **kwargs)
            finally:
                with self._watch.lock:
                    self._watch.gateway_seconds += time.thread_time() - began

        return call


class _Bench:
    def __init__(self, ledger: Ledger, sandbox: _Sandbox) -> None:
        self._ledger = ledger
        self._sandbox = sandbox
        self._watch = _Watch()
        box = SecretBox({"bench": Fernet.generate_key().decode()}, "bench")
        now = datetime.now(UTC)
        with ledger.begin() as session:
            tenant = tenants.create_tenant(session, "bench", now)
            self._scope: Scope = tenants.create_environment(session, tenant.id, "bench", "test", "UTC", now).scope
        asked = NewConnection("Stripe", _new_account(), sync_config=_ALLOWED)
        connections.connect(ledger, self._scope, box, self._gateway, asked, "bench", now)
        paces = CallPaces(ledger, lambda: datetime.now(UTC), time.sleep)
        self._gateways = Gateways(ledger, box, self._gateway, paces)

    def _gateway(self, secret_key: str, pace: CallPace | None = None) -> PaymentGateway:
        transport = _Watched(self._sandbox.url, self._watch, pace)
        gateway = StripeGateway(secret_key, self._sandbox.url, http_client=transport)
        return cast("PaymentGateway", _Timed(gateway, self._watch))

    def fill(self, count: int) -> None:
        """The invoices and their customers, by the product's own code but for the copies of a customer's row."""
        ids = self._customers(count)
        lines = [one_off_lines([OneOffItem(name, amount=Decimal(amount))], "USD", _PERIOD) for name, amount in _ITEMS]
        together = [LineDraft(**{**vars(line), "key": f"item:{number}"}) for number, (line,) in enumerate(lines)]
        for start in range(0, count, _ROWS_AT_ONCE):
            with self._ledger.begin() as session:
                for number, customer_id in enumerate(ids[start : start + _ROWS_AT_ONCE], start):
                    customer = customers.get_customer(session, self._scope, customer_id)
                    draft = invoices.create_one_off(
                        session,
                        self._scope,
                        customer,
                        currency="USD",
                        period=_PERIOD,
                        collection_method="charge_automatically",
                        metadata={},
                        now=_PERIOD.end,
                    )
                    adjusted = number % _ADJUSTED_EVERY == 0
                    if adjusted:
                        credit = NewGrant(Decimal("5.00"), "USD", "purchased")
                        credit_grants.grant(session, self._scope, customer_id, credit, _PERIOD.end)
                    priced = invoices.replace_lines(
                        session,
                        self._scope,
                        draft.id,
                        together,
                        "bench",
                        None,
                        "1.0",
                        _PERIOD.end,
                        _TERMS if adjusted else _NO_TERMS,
                    )
                    invoices.finalize_held(session, self._scope, [priced], _PERIOD.end)
        self._ledger.refresh_statistics()
        link = self._gateways.require(self._scope)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            now = datetime.now(UTC)
            list(pool.map(lambda each: sync_customer.ensure_customer(self._ledger, self._scope, link, each, now), ids))

    def _customers(self, count: int) -> list[str]:
        with self._ledger.begin() as session:
            first = customers.create_customer(session, self._scope, name="Customer", now=_START)
            row = session.execute(select(*Customer.__table__.columns).where(Customer.id == first.id)).one()
            ids = [first.id, *(new_id("cus", _START) for _ in range(count - 1))]
            copies = [{**row._mapping, "id": each, "external_id": each} for each in ids[1:]]
            if copies:
                session.execute(insert(Customer.__table__), copies)  # type: ignore[arg-type]
        return ids

    def send(self, count: int) -> Sent:
        self._watch.http_seconds = self._watch.turn_seconds = self._watch.gateway_seconds = 0.0
        self._watch.calls.clear()
        cpu, sandbox, postgres, commits = time.process_time(), self._sandbox_cpu(), *self._postgres()
        began = time.perf_counter()
        day = _PERIOD.end, _PERIOD.end + timedelta(days=1)
        answer = sync_invoices(self._ledger, self._gateways, *day, datetime.now(UTC))
        seconds = time.perf_counter() - began
        cpu = time.process_time() - cpu
        sandbox, (postgres_now, commits_now) = self._sandbox_cpu() - sandbox, self._postgres()
        if answer.failures or len(answer.results) != count:
            raise BenchFailed(f"{len(answer.results)} of {count} invoices were sent: {answer.failures[:1]}")
        # Before the check below, which asks the sandbox as well.
        http, turns, gateway = self._watch.http_seconds, self._watch.turn_seconds, self._watch.gateway_seconds
        calls = sum(self._watch.calls.values())
        by_kind = {kind: round(number / count, 2) for kind, number in sorted(self._watch.calls.items())}
        self._check(count)

        def each(spent: float) -> float:
            return round(1000 * spent / count, 2)

        return Sent(
            invoices=count,
            seconds=round(seconds, 2),
            per_second=round(count / seconds, 1),
            calls_each=round(calls / count, 2),
            calls=by_kind,
            cpu_ms=each(cpu),
            http_ms=each(http),
            client_ms=each(gateway - http - turns),
            turns_ms=each(turns),
            steps_ms=each(cpu - gateway),
            postgres_ms=each(postgres_now - postgres),
            sandbox_ms=each(sandbox),
            commits_each=round((commits_now - commits) / count, 2),
        )

    def bare(self, calls_each: float) -> Bare:
        """The kept calls once more, of another account, one invoice after the other in as many threads."""
        kept = list(self._watch.kept.values())
        key = _new_account()
        customer_id = _asked(self._connection(), "POST", "/v1/customers", "name=Bench", key)["id"]
        for coupon in {
            found for calls in kept for *_, body in calls for found in re.findall(r"coupon\]=([^&]+)", body)
        }:
            form = f"id={coupon}&amount_off=1596&currency=usd&duration=once&name=Bench"
            _asked(self._connection(), "POST", "/v1/coupons", form, key)
        sent = threading.local()

        def send(calls: list[tuple[str, str, str]]) -> int:
            if not hasattr(sent, "connection"):
                sent.connection = self._connection()
            invoice_id = ""
            for method, path, body in calls:
                form = re.sub(r"\bcustomer=\w+", f"customer={customer_id}", body)
                answer = _asked(sent.connection, method, path.replace("{id}", invoice_id), form, key)
                invoice_id = invoice_id or answer["id"]
            return len(calls)

        cpu, sandbox, began = time.process_time(), self._sandbox_cpu(), time.perf_counter()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            number = sum(pool.map(send, kept))
        seconds, cpu = time.perf_counter() - began, 1000 * (time.process_time() - cpu) / number
        return Bare(
            calls=number,
            calls_per_second=round(number / seconds, 1),
            cpu_ms_each=round(cpu, 3),
            sandbox_ms_each=round(1000 * (self._sandbox_cpu() - sandbox) / number, 2),
            floor_ms=round(cpu * calls_each, 2),
        )

    def _check(self, count: int) -> None:
        link = self._gateways.require(self._scope)
        there = link.gateway.list_invoices(datetime.now(UTC) - timedelta(days=1))
        with self._ledger.read() as session:
            due = dict(session.execute(select(Invoice.id, Invoice.amount_due)).tuples().all())
        seen = {each.metadata[OUR_INVOICE]: each.total for each in there}
        if not len(there) == len(seen) == count or seen != due:
            raise BenchFailed(f"{count} invoices here, {len(there)} at Stripe, or other totals")

    def _connection(self) -> HTTPConnection:
        return HTTPConnection(urlsplit(self._sandbox.url).netloc, timeout=60)

    def _sandbox_cpu(self) -> float:
        return usage_of(self._sandbox.process.pid).cpu_seconds

    def _postgres(self) -> tuple[float, int]:
        """Seconds of CPU of the server's processes, and its commits; nothing of either on SQLite."""
        if self._ledger.url.get_backend_name() == "sqlite":
            return 0.0, 0
        with self._ledger.read() as session:
            backend = session.scalar(text("SELECT pg_backend_pid()"))
            commits = session.scalar(text("SELECT sum(xact_commit) FROM pg_stat_database"))
        parent = int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return sum(usage_of(int(each)).cpu_seconds for each in children), int(commits or 0)


def _new_account() -> str:
    return f"sk_test_{secrets.token_hex(12)}"


def _asked(connection: HTTPConnection, method: str, path: str, form: str, key: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-www-form-urlencoded"}
    if method == "POST":
        headers["Idempotency-Key"] = secrets.token_hex(16)
    connection.request(method, path, form if method == "POST" else None, headers)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise BenchFailed(f"{method} {path} bare: {answer.status} {body[:300].decode()}")
    found: dict[str, Any] = json.loads(body)
    return found
