"""Tenants never see each other: every function of every store is called with another tenant's ids."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

import ledger.store
from billing.adjustments.coupon import CouponTerms, Duration
from billing.credit_note import Settlement
from billing.errors import NotFound
from billing.invoice import BillingReason, PaymentStatus
from billing.line_adjustment import Treatment
from billing.ports import PaymentEntry
from billing.price import parse_price
from billing.price_version import ApplyTo
from billing.scope import Scope
from billing.subscription import ChangeKind
from ledger.db import Ledger
from ledger.models import Subscription
from ledger.page import Page
from ledger.store import (
    audit,
    connections,
    coupons,
    credit_grants,
    credit_notes,
    customers,
    discounts,
    event_corrections,
    features,
    final_invoices,
    gates,
    idempotency,
    inbox,
    invoices,
    keys,
    line_adjustments,
    mappings,
    meters,
    outbox,
    payment_history,
    payments,
    plans,
    price_changes,
    prices,
    quantities,
    refunds,
    rerates,
    runs,
    sessions,
    subscription_changes,
    subscription_dues,
    subscriptions,
    tax_rates,
    tenants,
)
from ledger.store.line_adjustments import Look
from ledger.store.subscription_changes import NewChange
from tests.support.ledger_rows import (
    BOX,
    FEBRUARY,
    JANUARY,
    NOW,
    a_connection,
    a_correction,
    a_customer,
    a_line,
    a_plan,
    a_quantity,
    a_rerate,
    a_scope,
    a_subscription,
    an_adjustment,
    priced,
)

TICK = timedelta(microseconds=1)
FLAT = parse_price({"pricing_model": "flat", "amount": "1"})
Call = Callable[[Session, Scope, SimpleNamespace], Any]


def everything(session: Session, scope: Scope) -> SimpleNamespace:
    """One row of each kind in `scope`."""
    customer = a_customer(session, scope)
    plan = a_plan(session, scope)
    subscription = a_subscription(session, scope, customer_id=customer.id, plan_id=plan.id)
    change = NewChange(ChangeKind.PAUSED, FEBRUARY.end)
    subscription = subscriptions.change_subscription(session, scope, subscription, [change], "me", NOW)
    quantities.put_quantity(session, scope, a_quantity(subscription.id, plan))
    invoice = invoices.ensure_draft(session, scope, subscription, JANUARY, NOW)
    priced(session, scope, invoice.id)
    final = invoices.ensure_draft(session, scope, subscription, FEBRUARY, NOW)
    (line,) = priced(session, scope, final.id).lines
    final = invoices.finalize(session, scope, final.id, NOW)
    for sequence in (1, 2):
        record = an_adjustment(line, final, id=f"adj_{sequence}", sequence=sequence)
        line_adjustments.put_adjustment(session, scope, record, None)
    line_adjustments.carry(session, scope, ["adj_1"], invoice_id=invoice.id)
    line_adjustments.put_look(session, scope, Look(NOW, NOW))
    rerate = a_rerate(session, scope, final, line)
    payment = payments.create_payment(
        session,
        scope,
        customer_id=customer.id,
        invoice_id=invoice.id,
        amount=Decimal(1),
        currency="USD",
        method="card",
        gateway="stripe",
        gateway_payment_id="pi_1",
        now=NOW,
    )
    urls = {"success_url": "https://a.example", "cancel_url": "https://a.example"}
    checkout = sessions.create_checkout(
        session, scope, customer_id=customer.id, purpose="setup", set_default=True, now=NOW, **urls
    )
    sessions.attach_gateway_session(session, scope, checkout.id, gateway_session_id="cs_1", url=None)
    connection = a_connection(session, scope)
    mappings.intend(session, scope, connection.id, "invoice", invoice.id, NOW)
    mapping = mappings.record(
        session, scope, connection.id, "invoice", invoice.id, state="created", provider_id="in_1", now=NOW
    )
    payment_history.record(
        session, scope, payment.id, "attempt", [PaymentEntry("ch_1", Decimal(1), "x", None, {}, NOW)]
    )
    event, _ = inbox.receive(session, scope, connection.id, "evt_1", "invoice.paid", NOW, "{}", NOW, "192.0.2.1")
    work = outbox.enqueue(session, scope, "invoice.sync", invoice.id, NOW)
    gates.put_result(session, scope, "gate", invoice.id, "h", True, {}, NOW)
    correction = a_correction()
    event_corrections.add(session, scope, correction)
    run = runs.request_run(
        session,
        scope,
        kind="usage",
        first_day=JANUARY.start.date(),
        last_day=JANUARY.start.date(),
        subscription_id=None,
        meter_id=None,
        force=False,
        requested_by="me",
        now=NOW,
    )
    rate = tax_rates.create_tax_rate(session, scope, name="VAT", percentage=Decimal(19), inclusive=False, now=NOW)
    terms = CouponTerms(Decimal(20), None, None, Duration.ONCE)
    coupon = coupons.create_coupon(session, scope, code="OFF", name="Off", terms=terms, now=NOW)
    discount = discounts.add_discount(
        session,
        scope,
        coupon_id=coupon.id,
        customer_id=customer.id,
        subscription_id=None,
        starts_at=NOW,
        ends_at=None,
        now=NOW,
    )
    grant = credit_grants.grant(
        session, scope, customer.id, credit_grants.NewGrant(Decimal(5), "USD", "overpayment", "pay_1"), NOW
    )
    note = credit_notes.insert_note(
        session,
        scope,
        invoice,
        number="CN-202601-00001",
        reason="x",
        lines=[],
        settlement=Settlement(Decimal(0), Decimal(0), Decimal(0)),
        settle_as="credit",
        now=NOW,
    )
    through = payment.gateway
    refund = refunds.insert_refund(
        session, scope, payment, Decimal("0.5"), reason=None, gateway=through, now=NOW, credit_note_id=note.id
    )
    loose = refunds.insert_refund(session, scope, payment, Decimal("0.2"), reason=None, gateway=through, now=NOW)
    audit.write(session, scope, "me", "made", "invoice", invoice.id, {}, NOW)
    idempotency.reserve(session, scope, "k", "r", "b", NOW)
    idempotency.complete(session, scope, "k", 200, "{}")
    return SimpleNamespace(
        customer=customer,
        tax_rate=rate,
        coupon=coupon,
        note=note,
        grant=grant,
        discount=discount,
        plan=plan,
        price=plan.prices[1],
        meter="meter_requests",
        feature=plan.prices[1].feature_id,
        subscription=subscription,
        invoice=invoice,
        final=final,
        payment=payment,
        refund=refund,
        loose=loose,
        checkout=checkout,
        connection=connection,
        mapping=mapping,
        event=event,
        correction=correction,
        work=work,
        run=run,
        rerate=rerate,
        key=keys.create_key(session, scope, "ci", ["usage:read"], NOW)[0],
    )


READS: dict[str, Call] = {
    "final_invoices.final_among": lambda s, scope, have: final_invoices.final_among(s, scope, [have.final.id]),
    "line_adjustments.adjustments_of": lambda s, scope, _: line_adjustments.adjustments_of(s, scope, ["adj_1"]),
    "rerates.get_rerate": lambda s, scope, have: rerates.get_rerate(s, scope, have.rerate.id),
    "rerates.list_rerates": lambda s, scope, _: rerates.list_rerates(s, scope),
    "rerates.count_running": lambda s, scope, _: rerates.count_running(s, scope),
    "rerates.list_differences": lambda s, scope, have: rerates.list_differences(s, scope, have.rerate.id),
    "rerates.chosen_differences": lambda s, scope, have: rerates.chosen_differences(s, scope, have.rerate.id),
    "rerates.sums": lambda s, scope, have: rerates.sums(s, scope, have.rerate.id),
    "final_invoices.final_between": lambda s, scope, _: final_invoices.final_between(
        s, scope, FEBRUARY.start, FEBRUARY.end + TICK
    ),
    "final_invoices.final_of_customers": lambda s, scope, _: final_invoices.final_of_customers(
        s, scope, ["acme"], JANUARY.start
    ),
    "final_invoices.watermarks_since": lambda s, scope, _: final_invoices.watermarks_since(s, scope, NOW),
    "line_adjustments.carried": lambda s, scope, have: line_adjustments.carried(s, scope, [have.invoice.id])[
        have.invoice.id
    ],
    "line_adjustments.claim": lambda s, scope, have: line_adjustments.claim(
        s, scope, [(have.subscription.id, have.invoice.id)]
    )[have.invoice.id],
    "line_adjustments.get_adjustment": lambda s, scope, _: line_adjustments.get_adjustment(s, scope, "adj_1"),
    "line_adjustments.list_adjustments": lambda s, scope, have: line_adjustments.list_adjustments(
        s, scope, invoice_id=have.final.id
    ),
    "line_adjustments.of_lines_of": lambda s, scope, have: line_adjustments.of_lines_of(s, scope, have.final.id),
    "line_adjustments.pending_of": lambda s, scope, have: line_adjustments.pending_of(s, scope, have.subscription.id),
    "line_adjustments.waiting_of": lambda s, scope, have: line_adjustments.waiting_of(s, scope, have.subscription.id),
    "tenants.get_environment": lambda s, scope, _: tenants.get_environment(s, scope),
    "tenants.get_tenant": lambda s, scope, _: tenants.get_tenant(s, scope),
    "keys.list_keys": lambda s, scope, _: keys.list_keys(s, scope),
    "customers.get_customer": lambda s, scope, have: customers.get_customer(s, scope, have.customer.id),
    "customers.get_customer by external id": lambda s, scope, _: customers.get_customer(s, scope, "acme"),
    "customers.list_customers": lambda s, scope, _: customers.list_customers(s, scope),
    "customers.hold_customers": lambda s, scope, _: customers.hold_customers(s, scope, ["acme"]),
    "customers.customers_of": lambda s, scope, have: customers.customers_of(s, scope, [have.customer.id]),
    "customers.hold_customers_of": lambda s, scope, have: customers.hold_customers_of(s, scope, [have.customer.id]),
    "customers.external_ids": lambda s, scope, have: customers.external_ids(s, scope, [have.customer.id]),
    "tax_rates.get_tax_rate": lambda s, scope, have: tax_rates.get_tax_rate(s, scope, have.tax_rate.id),
    "tax_rates.list_tax_rates": lambda s, scope, _: tax_rates.list_tax_rates(s, scope),
    "tax_rates.check_rates": lambda s, scope, have: tax_rates.check_rates(s, scope, [have.tax_rate.id]),
    "tax_rates.terms_of_rates": lambda s, scope, have: tax_rates.terms_of_rates(s, scope, [have.tax_rate.id]),
    "customers.hold_customer": lambda s, scope, have: customers.hold_customer(s, scope, have.customer.id) or True,
    "credit_grants.get_grant": lambda s, scope, have: credit_grants.get_grant(s, scope, have.grant.id),
    "credit_grants.grant_of": lambda s, scope, have: credit_grants.grant_of(s, scope, "overpayment", "pay_1"),
    "credit_grants.require_grant_of": lambda s, scope, have: credit_grants.require_grant_of(
        s, scope, have.customer.id, have.grant.id
    ),
    "credit_grants.balances": lambda s, scope, have: credit_grants.balances(s, scope, have.customer.id, NOW),
    "credit_grants.forecast": lambda s, scope, have: credit_grants.forecast(
        s, scope, have.customer.id, Decimal(1), "USD", NOW
    ),
    "credit_grants.holders": lambda s, scope, have: credit_grants.holders(s, scope, [have.customer.id]),
    "credit_grants.list_grants": lambda s, scope, have: credit_grants.list_grants(s, scope, have.customer.id),
    "credit_grants.list_movements": lambda s, scope, have: credit_grants.list_movements(s, scope, have.customer.id),
    "credit_notes.get_note": lambda s, scope, have: credit_notes.get_note(s, scope, have.note.id),
    "credit_notes.list_notes": lambda s, scope, have: credit_notes.list_notes(s, scope, invoice_id=have.invoice.id),
    "credit_notes.of_invoice": lambda s, scope, have: credit_notes.of_invoice(s, scope, have.invoice.id),
    "refunds.get_refund": lambda s, scope, have: refunds.get_refund(s, scope, have.refund.id),
    "refunds.of_payment": lambda s, scope, have: refunds.of_payment(s, scope, have.payment.id),
    "refunds.made_since": lambda s, scope, have: refunds.made_since(s, scope, "stripe", NOW),
    "refunds.of_note": lambda s, scope, have: refunds.of_note(s, scope, have.note.id),
    "coupons.get_coupon": lambda s, scope, have: coupons.get_coupon(s, scope, have.coupon.id),
    "coupons.get_coupon by code": lambda s, scope, _: coupons.get_coupon(s, scope, "OFF"),
    "coupons.hold_coupon": lambda s, scope, have: coupons.hold_coupon(s, scope, have.coupon.id),
    "coupons.list_coupons": lambda s, scope, _: coupons.list_coupons(s, scope),
    "discounts.get_discount": lambda s, scope, have: discounts.get_discount(s, scope, have.discount.id),
    "discounts.list_discounts": lambda s, scope, have: discounts.list_discounts(s, scope, customer_id=have.customer.id),
    "discounts.of_customer": lambda s, scope, have: discounts.of_customer(s, scope, have.customer.id, None),
    "discounts.of_customers": lambda s, scope, have: discounts.of_customers(s, scope, [have.customer.id]),
    "discounts.redemptions": lambda s, scope, have: discounts.redemptions(s, scope, have.coupon.id),
    "invoice_queries.of_customer": lambda s, scope, have: invoices.of_customer(s, scope, have.customer.id),
    "meters.get_meter": lambda s, scope, have: meters.get_meter(s, scope, have.meter),
    "meters.get_meter in a version": lambda s, scope, have: meters.get_meter(s, scope, have.meter, 1),
    "meters.get_record": lambda s, scope, have: meters.get_record(s, scope, have.meter),
    "meters.list_versions": lambda s, scope, have: meters.list_versions(s, scope, have.meter),
    "meters.meters_listening_to": lambda s, scope, _: meters.meters_listening_to(s, scope, "request"),
    "meters.list_meters": lambda s, scope, _: meters.list_meters(s, scope),
    "features.get_feature": lambda s, scope, have: features.get_feature(s, scope, have.feature),
    "features.get_feature by key": lambda s, scope, _: features.get_feature(s, scope, "pro_requests"),
    "features.list_features": lambda s, scope, _: features.list_features(s, scope),
    "features.list_versions": lambda s, scope, have: features.list_versions(s, scope, have.feature),
    "prices.get_price": lambda s, scope, have: prices.get_price(s, scope, have.price.id),
    "prices.get_price in a version": lambda s, scope, have: prices.get_price(s, scope, have.price.id, 1),
    "prices.price_of": lambda s, scope, have: prices.price_of(s, scope, a_line(have.price.id)),
    "prices.version_at": lambda s, scope, have: prices.version_at(s, scope, have.price.id, NOW),
    "prices.list_versions": lambda s, scope, have: prices.list_versions(s, scope, have.price.id),
    "prices.list_prices": lambda s, scope, have: prices.list_prices(s, scope, NOW, plan_id=have.plan.id),
    "prices.prices_billed_in": lambda s, scope, have: prices.prices_billed_in(s, scope, have.plan.id, JANUARY),
    "prices.versions_by_price": lambda s, scope, have: prices.versions_by_price(s, scope, have.plan.id),
    "prices.versions_of_plan": lambda s, scope, have: prices.versions_of_plan(s, scope, have.plan.id),
    "prices.prices_of": lambda s, scope, have: prices.prices_of(s, scope, [have.plan.id])[have.plan.id],
    "plans.get_plan": lambda s, scope, have: plans.get_plan(s, scope, have.plan.id),
    "plans.get_plan by key": lambda s, scope, _: plans.get_plan(s, scope, "pro"),
    "plans.list_plans": lambda s, scope, _: plans.list_plans(s, scope),
    "plans.list_versions": lambda s, scope, have: plans.list_versions(s, scope, have.plan.id),
    "plans.terms_of": lambda s, scope, have: plans.terms_of(s, scope, [have.plan.id]),
    "subscriptions.get_subscription": lambda s, scope, have: subscriptions.get_subscription(
        s, scope, have.subscription.id
    ),
    "subscriptions.list_subscriptions": lambda s, scope, have: subscriptions.list_subscriptions(
        s, scope, NOW, customer_id=have.customer.id
    ),
    "subscriptions.subscriptions_begun": lambda s, scope, have: subscriptions.subscriptions_begun(
        s, scope, have.customer.id, JANUARY.start
    ),
    "subscriptions.plan_ids_of": lambda s, scope, have: subscriptions.plan_ids_of(s, scope, [have.subscription.id]),
    "subscriptions.subscriptions_of": lambda s, scope, have: subscriptions.subscriptions_of(
        s, scope, [have.subscription.id]
    ),
    "subscriptions.hold_subscriptions": lambda s, scope, have: subscriptions.hold_subscriptions(
        s, scope, [have.subscription.id]
    ),
    "subscriptions.hold_subscription": lambda s, scope, have: subscriptions.hold_subscription(
        s, scope, have.subscription.id
    ),
    "subscription_changes.list_changes": lambda s, scope, have: subscription_changes.list_changes(
        s, scope, have.subscription.id
    ),
    "invoice_queries.invoices_of_periods": lambda s, scope, have: invoices.invoices_of_periods(
        s, scope, have.subscription.id, [JANUARY.start]
    ),
    "invoice_queries.of_subscriptions": lambda s, scope, have: invoices.of_subscriptions(
        s, scope, [have.subscription.id], [JANUARY.start]
    ),
    "invoice_queries.of_period": lambda s, scope, have: invoices.of_period(
        s, scope, have.subscription.id, JANUARY.start, BillingReason.SUBSCRIPTION_CYCLE
    ),
    "invoice_queries.last_closed_end": lambda s, scope, have: invoices.last_closed_end(s, scope, have.subscription.id),
    "subscription_changes.histories_of": lambda s, scope, have: subscription_changes.histories_of(
        s, scope, [have.subscription.id]
    ),
    "event_corrections.by_event_key": lambda s, scope, have: event_corrections.by_event_key(
        s, scope, [have.correction.event_key]
    ),
    "event_corrections.touching": lambda s, scope, _: event_corrections.touching(s, scope, ["acme"]),
    "quantities.quantities_before": lambda s, scope, have: quantities.quantities_before(
        s, scope, [have.subscription.id], FEBRUARY.start
    ),
    "quantities.quantities_of_periods": lambda s, scope, have: quantities.quantities_of_periods(
        s, scope, [(have.subscription.id, JANUARY.start)]
    ),
    "quantities.quantities_of": lambda s, scope, have: quantities.quantities_of(
        s, scope, have.subscription.id, JANUARY.start
    ),
    "invoices.get_invoice": lambda s, scope, have: invoices.get_invoice(s, scope, have.invoice.id),
    "invoices.customer_of": lambda s, scope, have: invoices.customer_of(s, scope, have.invoice.id),
    "invoices.invoices_of": lambda s, scope, have: invoices.invoices_of(s, scope, [have.invoice.id]),
    "invoices.hold_invoices": lambda s, scope, have: invoices.hold_invoices(s, scope, [have.invoice.id]),
    "invoices.hold": lambda s, scope, have: invoices.hold(s, scope, have.invoice.id),
    "invoice_queries.of_periods": lambda s, scope, have: invoices.of_periods(
        s, scope, [(have.subscription.id, have.invoice.period.start)]
    ),
    "invoice_queries.finalized_after": lambda s, scope, have: invoices.finalized_after(
        s, scope, have.customer.id, JANUARY.end
    ),
    "invoice_queries.list_invoices": lambda s, scope, have: invoices.list_invoices(
        s, scope, customer_id=have.customer.id
    ),
    "invoice_lines.lines_of": lambda s, scope, have: ledger.store.invoice_lines.lines_of(s, scope, [have.invoice.id])[
        have.invoice.id
    ],
    "payments.get_payment": lambda s, scope, have: payments.get_payment(s, scope, have.payment.id),
    "payments.by_gateway_id": lambda s, scope, _: payments.by_gateway_id(s, scope, "stripe", "pi_1"),
    "payments.list_payments": lambda s, scope, have: payments.list_payments(s, scope, invoice_id=have.invoice.id),
    "sessions.get_checkout": lambda s, scope, have: sessions.get_checkout(s, scope, have.checkout.id),
    "sessions.by_gateway_session": lambda s, scope, _: sessions.by_gateway_session(s, scope, "cs_1"),
    "sessions.open_checkouts": lambda s, scope, _: sessions.open_checkouts(s, scope),
    "sessions.list_checkouts": lambda s, scope, _: sessions.list_checkouts(s, scope),
    "payments.hold_payment": lambda s, scope, have: payments.hold_payment(s, scope, have.payment.id),
    "payment_history.list_history": lambda s, scope, have: payment_history.list_history(s, scope, have.payment.id),
    "connections.get_connection": lambda s, scope, have: connections.get_connection(s, scope, have.connection.id),
    "connections.active": lambda s, scope, _: connections.active(s, scope, "stripe"),
    "connections.list_connections": lambda s, scope, _: connections.list_connections(s, scope),
    "connections.open_secrets": lambda s, scope, have: connections.open_secrets(s, scope, have.connection.id, BOX),
    "mappings.get_mapping": lambda s, scope, have: mappings.get_mapping(
        s, scope, have.connection.id, "invoice", have.invoice.id
    ),
    "mappings.by_provider_id": lambda s, scope, have: mappings.by_provider_id(
        s, scope, have.connection.id, "invoice", "in_1"
    ),
    "mappings.of_entities": lambda s, scope, have: mappings.of_entities(s, scope, "invoice", [have.invoice.id]),
    "mappings.hold_undone": lambda s, scope, have: mappings.hold_undone(s, scope, [have.mapping.id]),
    "invoice_queries.unsent": lambda s, scope, have: invoices.unsent(s, scope, [have.invoice.id]),
    "mappings.list_mappings": lambda s, scope, have: mappings.list_mappings(s, scope, connection_id=have.connection.id),
    "inbox.get_event": lambda s, scope, have: inbox.get_event(s, scope, have.event.id),
    "inbox.list_events": lambda s, scope, _: inbox.list_events(s, scope),
    "inbox.list_deliveries": lambda s, scope, have: inbox.list_deliveries(s, scope, have.event.id),
    "inbox.is_known": lambda s, scope, have: inbox.is_known(s, scope, have.connection.id, "evt_1") or None,
    "outbox.get_item": lambda s, scope, have: outbox.get_item(s, scope, have.work.id),
    "outbox.list_items": lambda s, scope, _: outbox.list_items(s, scope),
    "gates.passed": lambda s, scope, have: gates.passed(s, scope, "gate", have.invoice.id, "h"),
    "gates.results_of": lambda s, scope, have: gates.results_of(s, scope, ["gate"], [have.invoice.id]),
    "gates.list_results": lambda s, scope, _: gates.list_results(s, scope),
    "audit.list_entries": lambda s, scope, have: audit.list_entries(s, scope, entity_id=have.invoice.id),
    "runs.get_run": lambda s, scope, have: runs.get_run(s, scope, have.run.id),
    "runs.list_runs": lambda s, scope, _: runs.list_runs(s, scope),
    "runs.count_unfinished": lambda s, scope, _: runs.count_unfinished(s, scope),
    "idempotency.reserve": lambda s, scope, _: idempotency.reserve(s, scope, "k", "r", "b", NOW),
}

# Functions that change a row named by its id: with another tenant's id they do not find it.
WRITES: dict[str, Call] = {
    "keys.revoke_key": lambda s, scope, have: keys.revoke_key(s, scope, have.key.id, NOW),
    "keys.rotate_key": lambda s, scope, have: keys.rotate_key(s, scope, have.key.id, timedelta(0), NOW),
    "customers.update_customer": lambda s, scope, have: customers.update_customer(
        s, scope, have.customer.id, {"name": "x"}
    ),
    "meters.revise_meter": lambda s, scope, have: meters.revise_meter(
        s, scope, have.meter, meters.get_meter(s, have.scope, have.meter).definition, NOW
    ),
    "meters.change_meter": lambda s, scope, have: meters.change_meter(s, scope, have.meter, {"name": "x"}, NOW),
    "meters.archive_meter": lambda s, scope, have: meters.archive_meter(s, scope, have.meter, NOW),
    "features.create_feature": lambda s, scope, have: features.create_feature(
        s, scope, name="x", key="x", feature_type="metered", meter_id=have.meter, now=NOW
    ),
    "features.update_feature": lambda s, scope, have: features.update_feature(
        s, scope, have.feature, {"name": "x"}, NOW
    ),
    "features.archive_feature": lambda s, scope, have: features.archive_feature(s, scope, have.feature, NOW),
    "price_changes.timing_of": lambda s, scope, have: price_changes.timing_of(
        s, scope, have.price.id, None, ApplyTo.NEXT_PERIOD, NOW
    ),
    "price_changes.hold_prices": lambda s, scope, have: price_changes.hold_prices(s, scope, have.plan.id),
    "price_changes.add_price": lambda s, scope, have: price_changes.add_price(
        s, scope, have.plan.id, plans.NewPrice(None, "x", FLAT), NOW
    ),
    "price_changes.revise_price": lambda s, scope, have: price_changes.revise_price(
        s, scope, have.price.id, FLAT, NOW, NOW
    ),
    "price_changes.archive_price": lambda s, scope, have: price_changes.archive_price(
        s, scope, have.price.id, NOW, NOW
    ),
    "plans.update_plan": lambda s, scope, have: plans.update_plan(s, scope, have.plan.id, {"name": "x"}, NOW),
    "plans.archive_plan": lambda s, scope, have: plans.archive_plan(s, scope, have.plan.id, NOW),
    "plans.create_plan": lambda s, scope, have: plans.create_plan(
        s,
        scope,
        name="x",
        key="x",
        billing_period="monthly",
        interval="P1M",
        currency="USD",
        prices=[plans.NewPrice(have.feature, "x", FLAT)],
        now=NOW,
    ),
    "subscriptions.create_subscription": lambda s, scope, have: a_subscription(
        s, scope, customer_id=have.customer.id, plan_id=have.plan.id
    ),
    "subscriptions.update_subscription": lambda s, scope, have: subscriptions.update_subscription(
        s, scope, have.subscription.id, metadata={"x": "y"}
    ),
    "invoices.replace_lines": lambda s, scope, have: invoices.replace_lines(
        s, scope, have.invoice.id, [a_line(have.price.id)], "h", NOW, "1", NOW
    ),
    "invoices.set_tax_rates": lambda s, scope, have: invoices.set_tax_rates(s, scope, have.invoice.id, []),
    "tax_rates.archive_tax_rate": lambda s, scope, have: tax_rates.archive_tax_rate(s, scope, have.tax_rate.id),
    "credit_grants.grant": lambda s, scope, have: credit_grants.grant(
        s, scope, have.customer.id, credit_grants.NewGrant(Decimal(5), "USD", "purchased"), NOW
    ),
    "credit_grants.void_grant": lambda s, scope, have: credit_grants.void_grant(s, scope, have.grant.id, NOW),
    "credit_notes.mark_void": lambda s, scope, have: credit_notes.mark_void(s, scope, have.note.id, "x", NOW),
    "invoices.record_credited": lambda s, scope, have: invoices.record_credited(
        s, scope, have.invoice.id, Decimal(1), Decimal(1)
    ),
    "coupons.archive_coupon": lambda s, scope, have: coupons.archive_coupon(s, scope, have.coupon.id),
    "discounts.end_discount": lambda s, scope, have: discounts.end_discount(s, scope, have.discount.id, NOW),
    "invoices.finalize": lambda s, scope, have: invoices.finalize(s, scope, have.invoice.id, NOW),
    "invoices.void": lambda s, scope, have: invoices.void(s, scope, have.invoice.id, NOW),
    "invoices.record_payment_state": lambda s, scope, have: invoices.record_payment_state(
        s, scope, have.invoice.id, Decimal(1), PaymentStatus.PAID, NOW, None
    ),
    "invoices.undo_refund": lambda s, scope, have: invoices.undo_refund(s, scope, have.invoice.id),
    "payments.undo_refund": lambda s, scope, have: payments.undo_refund(s, scope, have.payment.id),
    "payment_history.record": lambda s, scope, have: payment_history.record(s, scope, have.payment.id, "refund", []),
    "connections.reseal_secrets": lambda s, scope, have: connections.reseal_secrets(s, scope, have.connection.id, BOX),
    "invoices.set_links": lambda s, scope, have: invoices.set_links(s, scope, have.invoice.id, "u", "u"),
    "payments.create_payment": lambda s, scope, have: payments.create_payment(
        s, scope, customer_id=have.customer.id, amount=Decimal(1), currency="USD", method="card", now=NOW
    ),
    "payments.upsert_gateway_payment": lambda s, scope, have: payments.upsert_gateway_payment(
        s,
        scope,
        gateway="stripe",
        gateway_payment_id="pi_1",
        customer_id=have.customer.id,
        amount=Decimal(1),
        currency="USD",
        status="failed",
        now=NOW,
    ),
    "refunds.move": lambda s, scope, have: refunds.move(s, scope, have.refund.id, "failed", NOW),
    "payments.update_status": lambda s, scope, have: payments.update_status(s, scope, have.payment.id, "failed"),
    "sessions.create_checkout": lambda s, scope, have: sessions.create_checkout(
        s,
        scope,
        customer_id=have.customer.id,
        purpose="setup",
        success_url="u",
        cancel_url="u",
        set_default=True,
        now=NOW,
    ),
    "sessions.attach_gateway_session": lambda s, scope, have: sessions.attach_gateway_session(
        s, scope, have.checkout.id, gateway_session_id="cs_2", url=None
    ),
    "sessions.close_checkout": lambda s, scope, have: sessions.close_checkout(s, scope, have.checkout.id, "expired"),
    "connections.update_connection": lambda s, scope, have: connections.update_connection(
        s, scope, have.connection.id, {"name": "x"}
    ),
    "connections.delete_connection": lambda s, scope, have: connections.delete_connection(
        s, scope, have.connection.id, NOW
    ),
    "mappings.intend": lambda s, scope, have: mappings.intend(s, scope, have.connection.id, "plan", "plan_1", NOW),
    "mappings.record": lambda s, scope, have: mappings.record(
        s, scope, have.connection.id, "invoice", have.invoice.id, state="failed", now=NOW
    ),
    "inbox.receive": lambda s, scope, have: inbox.receive(
        s, scope, have.connection.id, "evt_2", "x", NOW, "{}", NOW, "192.0.2.1"
    ),
    "inbox.claim": lambda s, scope, have: inbox.claim(s, scope, have.event.id, NOW),
}

# Functions that change a row without saying whether it was there: with another tenant's id nothing changes.
SILENT_WRITES: dict[str, Call] = {
    "subscription_dues.look_again_at_starts": lambda s, scope, have: subscription_dues.look_again_at_starts(
        s, scope, have.subscription.start_date
    ),
    "invoices.set_links_of": lambda s, scope, have: invoices.set_links_of(s, scope, {have.final.id: ("u", "u")}),
    "mappings.record_created": lambda s, scope, have: mappings.record_created(s, scope, {have.mapping.id: "in_2"}, NOW),
    "mappings.record_done": lambda s, scope, have: mappings.record_done(s, scope, {have.mapping.id: {}}, NOW),
    "refunds.settle_note": lambda s, scope, have: refunds.settle_note(s, scope, have.loose.id, have.note.id),
    "rerates.lease": lambda s, scope, have: rerates.lease(s, scope, have.rerate, NOW + TICK),
    "rerates.release": lambda s, scope, have: rerates.release(s, scope, have.rerate.id, NOW),
    "rerates.adjusted": lambda s, scope, have: rerates.adjusted(s, scope, have.rerate.id, {1: "adj_2"}),
    "rerates.add_rated": lambda s, scope, have: rerates.add_rated(
        s,
        scope,
        have.rerate.id,
        NOW,
        invoices=1,
        lines=1,
        differences=[],
        failures=[],
        watermark=NOW,
        after=None,
        finished_at=NOW,
    ),
    "line_adjustments.carry": lambda s, scope, _: line_adjustments.carry(s, scope, ["adj_1"]),
    "line_adjustments.remove_adjustment": lambda s, scope, _: line_adjustments.remove_adjustment(s, scope, "adj_2"),
    "line_adjustments.set_treatment": lambda s, scope, _: line_adjustments.set_treatment(
        s, scope, "adj_1", Treatment.CREDIT_NOTE, "x"
    ),
    "inbox.mark_processed": lambda s, scope, have: inbox.mark_processed(s, scope, have.event.id, NOW),
    "inbox.mark_ignored": lambda s, scope, have: inbox.mark_ignored(s, scope, have.event.id, "x", NOW),
    "inbox.mark_failed": lambda s, scope, have: inbox.mark_failed(s, scope, have.event.id, None, "x", NOW),
    "inbox.reopen": lambda s, scope, have: inbox.reopen(s, scope, have.event.id, NOW),
    "event_corrections.mark_applied": lambda s, scope, have: event_corrections.mark_applied(
        s, scope, have.correction.id, NOW
    ),
    "runs.follow_run": lambda s, scope, have: runs.follow_run(
        s, scope, have.run.id, status="failed", log=[], started_at=NOW, finished_at=NOW
    ),
    "outbox.done": lambda s, scope, have: outbox.done(s, scope, have.work.id, NOW),
    "outbox.retry_later": lambda s, scope, have: outbox.retry_later(s, scope, have.work.id, NOW, "x"),
    "outbox.put_off": lambda s, scope, have: outbox.put_off(s, scope, have.work.id, NOW),
    "outbox.give_up": lambda s, scope, have: outbox.give_up(s, scope, have.work.id, "x", NOW),
    "idempotency.complete": lambda s, scope, _: idempotency.complete(s, scope, "k", 500, "{}"),
    "idempotency.release": lambda s, scope, _: idempotency.release(s, scope, "k"),
}

# They write a new row in the scope that they are given, and name no other.
NAME_NO_ROW = {
    "tenants.set_billing_grace",
    "tenants.set_usage_freshness",
    "tenants.set_late_events",
    "line_adjustments.put_look",
    "keys.create_key",
    "customers.create_customer",
    "connections.create_connection",
    "meters.create_meter",
    "gates.put_result",
    "gates.put_results",
    "gates.add_results",
    "tax_rates.create_tax_rate",
    "coupons.create_coupon",
    "audit.write",
    "audit.write_many",
    "event_corrections.add",
    "outbox.enqueue",
    "runs.request_run",
}
# Parts of functions above, which hand on rows of the same scope; a foreign key holds what they write.
INNER = {
    "invoice_queries.untouched",
    "mappings.intend_new",
    "price_changes.insert_price",
    "quantities.put_quantity",
    "quantities.put_quantities",
    "quantities.add_quantities",
    "quantities.remove_quantity",
    "subscriptions.change_subscription",
    "subscription_changes.append",
    "price_changes.put_override",
    "line_adjustments.put_adjustment",
    "rerates.create_rerate",
    "invoices.cut_drafts",
    "invoices.create_one_off",
    "invoices.ensure_draft",
    "invoices.ensure_drafts",
    "invoices.replace_lines_of",
    "invoices.finalize_held",
    "discounts.add_discount",
    "credit_grants.apply",
    "credit_grants.give_back",
    "credit_grants.expire",
    "invoice_lines.remove_lines",
    "invoice_lines.insert_lines",
    "invoice_record.with_lines",
    "invoice_numbers.hold_numbers",
    "invoice_numbers.take_numbers",
    "invoice_numbers.hold_note_numbers",
    "invoice_numbers.take_note_number",
    "credit_notes.insert_note",
    "refunds.insert_refund",
}


def found_by(call: Call, session: Session, scope: Scope, have: SimpleNamespace) -> Any:
    """What the call finds, None where it raises NotFound."""
    try:
        found = call(session, scope, have)
    except NotFound:
        return None
    return found.items if isinstance(found, Page) else found


def test_every_function_of_every_store_is_in_one_of_these_tables() -> None:
    scoped = set()
    for module in pkgutil.iter_modules(ledger.store.__path__):
        for name, function in inspect.getmembers(importlib.import_module(f"ledger.store.{module.name}")):
            own = inspect.isfunction(function) and function.__module__ == f"ledger.store.{module.name}"
            if (
                own
                and not name.startswith("_")
                and list(inspect.signature(function).parameters)[:2] == ["session", "scope"]
            ):
                scoped.add(f"{module.name}.{name}")
    assert scoped == {name.split()[0] for name in (*READS, *WRITES, *SILENT_WRITES)} | NAME_NO_ROW | INNER


def test_no_read_finds_a_row_of_another_tenant_or_environment(ledger: Ledger) -> None:
    with ledger.begin() as session:
        mine = a_scope(session, "Mine")
        have = everything(session, mine)
        environment = tenants.create_environment(session, mine.tenant_id, "second", "test", "UTC", NOW)
        for other in (a_scope(session, "Other"), environment.scope, Scope(mine.tenant_id, "env_none")):
            for name, call in READS.items():
                if name.startswith("tenants.") and other.environment_id != "env_none":
                    continue
                # Reserving a key that is free finds nothing, in an environment that exists.
                if name == "idempotency.reserve" and other.environment_id == "env_none":
                    continue
                with session.begin_nested() as undone:
                    assert found_by(call, session, mine, have), f"{name} does not even find its own"
                    # A claim takes what it finds: it is there again for the next look.
                    undone.rollback()
                assert not found_by(call, session, other, have), name


def test_no_write_reaches_a_row_of_another_tenant(ledger: Ledger) -> None:
    with ledger.begin() as session:
        mine, other = a_scope(session, "Mine"), a_scope(session, "Other")
        have = everything(session, mine)
        have.scope = mine
        for name, call in WRITES.items():
            with session.begin_nested() as undone:
                try:
                    call(session, other, have)
                except NotFound:
                    undone.rollback()
                else:
                    pytest.fail(f"{name} wrote beside a row of another tenant")


def test_no_silent_write_reaches_a_row_of_another_tenant(ledger: Ledger) -> None:
    with ledger.begin() as session:
        mine, other = a_scope(session, "Mine"), a_scope(session, "Other")
        have = everything(session, mine)

        def state() -> list[Any]:
            answer = idempotency.reserve(session, mine, "k", "r", "b", NOW)
            corrections = event_corrections.by_event_key(session, mine, [have.correction.event_key])
            event = inbox.get_event(session, mine, have.event.id)
            run = runs.get_run(session, mine, have.run.id)
            adjusted = line_adjustments.of_lines_of(session, mine, have.final.id)
            loose = refunds.get_refund(session, mine, have.loose.id)
            rerate = rerates.get_rerate(session, mine, have.rerate.id)
            adjusted |= {"rated": rerates.chosen_differences(session, mine, have.rerate.id)}
            work = outbox.get_item(session, mine, have.work.id)
            sent = mappings.list_mappings(session, mine).items, invoices.get_invoice(session, mine, have.final.id)
            dues = session.execute(select(Subscription.id, Subscription.due_revision).order_by(Subscription.id)).all()
            return [loose, event, work, answer, corrections, run, adjusted, rerate, sent, dues]

        before = state()
        for name, call in SILENT_WRITES.items():
            call(session, other, have)
            assert state() == before, name
