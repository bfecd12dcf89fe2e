"""Adjustments under coupons and taxes, in each way to bill them: Stripe asks for what we do, to the last unit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from billing.adjustments.coupon import CouponTerms, Duration
from billing.invoice import InvoiceStatus
from billing.line_adjustment import AdjustmentState, Treatment
from billing.money import to_minor
from ledger.secretbox import Secrets
from ledger.store import connections, coupons, credit_grants, customers, mappings, tax_rates, tenants
from ledger.store.invoices import InvoiceRecord
from pipelines.steps.give_coupon import NewDiscount, give_coupon
from pipelines.steps.recompute_invoice import recompute_invoice
from pipelines.steps.stripe_sweep import sweep
from pipelines.steps.sync_invoice import sync
from tests.integration.pipelines.late import NOVEMBER_10, OCTOBER_10, adjustments, bill_up_to, by_month, look
from tests.integration.pipelines.stage import GUIDE_PRICE, SET_UP, Shop, Stage
from tests.integration.pipelines.test_late_events import VOLUME
from tests.support.sandbox_process import SandboxProcess, new_account, running_sandbox

NOVEMBER_2, DECEMBER_2 = datetime(2024, 11, 2, tzinfo=UTC), datetime(2024, 12, 2, tzinfo=UTC)
TEN_PERCENT = CouponTerms(Decimal(10), None, None, Duration.FOREVER)


def off(amount: str, duration: Duration) -> CouponTerms:
    return CouponTerms(None, Decimal(amount), "USD", duration)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """One sandbox for the tests of this file."""
    with running_sandbox() as server:
        yield server


@dataclass(frozen=True)
class At:
    """A shop with an account at Stripe."""

    stage: Stage
    shop: Shop
    key: str

    def get(self, path: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = httpx.get(f"{self.stage.stripe_api_base}/v1/{path}", headers=headers, trust_env=False, timeout=30)
        answer.raise_for_status()
        return dict(answer.json())

    def assert_the_same_there(self) -> list[InvoiceRecord]:
        """Every final invoice and credit note goes there and has our amounts; ours made again are the same bytes."""
        stage, scope = self.stage, self.shop.scope
        final = [one for one in stage.invoices(self.shop) if one.status is InvoiceStatus.FINALIZED]
        for invoice in final:
            done = sync(stage.ledger, scope, stage.tally.gateways, invoice.id, stage.now)
            assert done.outcome in {"synced", "already_synced"}, done
        swept = sweep(stage.ledger, stage.tally.gateways, stage.now)
        assert (swept.retried, swept.dead) == (0, 0)
        with stage.ledger.read() as session:
            known = mappings.list_mappings(session, scope, entity="invoice", limit=100).items
        there = {one.entity_id: self.get(f"invoices/{one.provider_id}") for one in known}
        for invoice in final:
            assert there[invoice.id]["total"] == to_minor(invoice.amount_due, "USD"), invoice
            taxed = sum(tax["amount"] for tax in there[invoice.id]["total_taxes"])
            assert taxed == to_minor(invoice.tax_total, "USD"), invoice
            again = recompute_invoice(stage.ledger, stage.warehouse, scope, invoice.id, stage.now)
            assert again.same, (again.reasons, [line.reasons for line in again.lines])
        return final


def billed_october(
    stage: Stage,
    sandbox: SandboxProcess,
    price: Mapping[str, Any],
    coupon: CouponTerms | None,
    treatment: Treatment,
    *,
    inclusive: bool = False,
) -> At:
    """900 requests of October on a final invoice with 19 % tax."""
    stage.stripe_api_base = sandbox.url
    shop, key = stage.shop(prices=[price]), new_account()
    subscription = stage.subscribe(shop)
    with stage.ledger.begin() as session:
        vat = tax_rates.create_tax_rate(
            session, shop.scope, name="VAT", percentage=Decimal(19), inclusive=inclusive, now=SET_UP
        )
        customers.update_customer(session, shop.scope, subscription.customer_id, {"tax_rate_ids": [vat.id]})
        if coupon is not None:
            coupons.create_coupon(session, shop.scope, code="OFF", name="Off", terms=coupon, now=SET_UP)
            give_coupon(session, shop.scope, NewDiscount("OFF", subscription_id=subscription.id), "tests", SET_UP)
        tenants.set_late_events(session, shop.scope, treatment)
        connections.create_connection(
            session,
            shop.scope,
            name="Stripe",
            provider="stripe",
            livemode=False,
            sync_config={},
            sealed=stage.box.seal(shop.scope, Secrets(key)),
            now=SET_UP,
        )
    stage.send(shop, 900, at=OCTOBER_10)
    bill_up_to(stage, NOVEMBER_2)
    at = At(stage, shop, key)
    at.assert_the_same_there()
    return at


@pytest.mark.parametrize(
    ("price", "coupon", "inclusive", "november", "carried", "discount", "total"),
    [
        # Due 24.00 less 2.40, billed 19.00 less 1.90; 10.10 less 1.01 of November; 19 % of 13.59.
        pytest.param(GUIDE_PRICE, TEN_PERCENT, False, 10, ["4.50"], "1.01", "16.17", id="a percentage takes its share"),
        # 5.00 were off October, and nothing is off November.
        pytest.param(
            GUIDE_PRICE,
            off("5", Duration.ONCE),
            True,
            10,
            ["5.00"],
            "0.00",
            "15.10",
            id="an amount that is used up",
            marks=pytest.mark.slow,
        ),
        # Of 20.00 only 19.00 were taken off 19.00; now they are of 24.00. November's 10.10 are free; 19 % of 4.00.
        pytest.param(
            GUIDE_PRICE,
            off("20", Duration.FOREVER),
            False,
            10,
            ["4.00"],
            "10.10",
            "4.76",
            id="an amount that had something over",
        ),
        # 9.00 have become 7.50, and November is empty: 1.50 and 0.29 of tax are given back as credit.
        pytest.param(VOLUME, None, False, 0, ["-1.50"], "0.00", "-1.79", id="below zero"),
        # 9.00 less 0.90 have become 7.50 less 0.75.
        pytest.param(
            VOLUME,
            TEN_PERCENT,
            True,
            0,
            ["-1.35"],
            "0.00",
            "-1.35",
            id="below zero with tax in it",
            marks=pytest.mark.slow,
        ),
        pytest.param(VOLUME, TEN_PERCENT, False, 600, ["-1.35"], "0.60", "4.82", id="less than what November comes to"),
    ],
)
def test_M5_a_late_event_on_the_next_invoice_is_asked_for_at_stripe_to_the_last_unit(
    stage: Stage,
    sandbox: SandboxProcess,
    price: Mapping[str, Any],
    coupon: CouponTerms | None,
    inclusive: bool,
    november: int,
    carried: list[str],
    discount: str,
    total: str,
) -> None:
    at = billed_october(stage, sandbox, price, coupon, Treatment.NEXT_INVOICE, inclusive=inclusive)
    stage.send(at.shop, 600, first=900, at=OCTOBER_10)
    stage.send(at.shop, november, first=5000, at=NOVEMBER_10)
    bill_up_to(stage, DECEMBER_2)
    made = by_month(stage, at.shop)[11]
    assert [str(line.amount) for line in made.adjustment_lines] == carried
    assert [line.discount for line in made.adjustment_lines] == [Decimal("0.00")] * len(carried)
    assert (made.discount_total, made.total) == (Decimal(discount), Decimal(total))
    with stage.ledger.read() as session:
        grant = credit_grants.grant_of(session, at.shop.scope, "negative_invoice", made.id)
    assert (None if grant is None else grant.amount) == (-made.total if made.total < 0 else None)
    at.assert_the_same_there()


def test_M5_an_invoice_of_its_own_is_asked_for_at_stripe_once_with_its_tax(
    stage: Stage, sandbox: SandboxProcess
) -> None:
    at = billed_october(stage, sandbox, GUIDE_PRICE, TEN_PERCENT, Treatment.SEPARATE_INVOICE)
    stage.send(at.shop, 600, first=900, at=OCTOBER_10)
    for _ in range(2):
        look(stage, datetime(2024, 11, 20, tzinfo=UTC))
    ((october, own),) = [sorted(at.assert_the_same_there(), key=lambda one: one.id)]
    # 4.50 and 19 % of it.
    assert (own.total, own.tax_total, october.total) == (Decimal("5.36"), Decimal("0.86"), Decimal("20.35"))
    assert sorted(one["total"] for one in at.get("invoices?limit=100")["data"]) == [536, 2035]
    assert sorted(one.id for one in at.assert_the_same_there()) == sorted([october.id, own.id])
    assert len(at.get("invoices?limit=100")["data"]) == 2


@pytest.mark.parametrize(("inclusive", "total"), [(False, "1.61"), (True, "1.35")])
def test_M5_a_credit_note_for_late_events_is_at_stripe_with_its_tax(
    stage: Stage, sandbox: SandboxProcess, inclusive: bool, total: str
) -> None:
    at = billed_october(stage, sandbox, VOLUME, TEN_PERCENT, Treatment.CREDIT_NOTE, inclusive=inclusive)
    stage.send(at.shop, 600, first=900, at=OCTOBER_10)
    ((_, note),) = look(stage, datetime(2024, 11, 20, tzinfo=UTC)).credit_notes
    # 1.35 of the net; the tax on top goes along: 19 % of it are 0.26.
    assert note.total == Decimal(total)
    at.assert_the_same_there()
    (there,) = at.get("credit_notes")["data"]
    assert (there["total"], sum(tax["amount"] for tax in there["total_taxes"])) == (
        to_minor(note.total, "USD"),
        to_minor(note.tax_total, "USD"),
    )
    assert [one.state for one in adjustments(stage, at.shop)] == [AdjustmentState.CREDITED]
    look(stage, stage.now)
    bill_up_to(stage, DECEMBER_2)
    assert by_month(stage, at.shop)[11].adjustment_lines == ()
    at.assert_the_same_there()
    assert len(at.get("credit_notes")["data"]) == 1
