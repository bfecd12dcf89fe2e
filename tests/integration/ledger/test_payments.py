"""Payments and checkout sessions: one row per payment of the gateway, statuses forwards only."""

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.ports import PaymentEntry
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import payment_history, payments, sessions
from tests.support.at_once import in_threads
from tests.support.ledger_rows import NOW, a_customer, a_draft, a_scope, later


def a_payment(session: Session, scope: Scope, customer_id: str, **other: Any) -> payments.PaymentRecord:
    defaults = {"amount": Decimal("100.00"), "currency": "USD", "method": "card", "gateway": "stripe", "now": NOW}
    return payments.create_payment(session, scope, customer_id=customer_id, **{**defaults, **other})


def a_report(session: Session, scope: Scope, status: str, **other: Any) -> payments.PaymentRecord:
    """The gateway's word on its payment pi_1 of customer `acme`."""
    defaults = {"gateway": "stripe", "gateway_payment_id": "pi_1", "customer_id": "acme", "amount": Decimal("5.00")}
    return payments.upsert_gateway_payment(
        session, scope, status=status, currency="USD", now=NOW, **{**defaults, **other}
    )


def a_checkout(session: Session, scope: Scope, customer_id: str, **other: Any) -> sessions.CheckoutRecord:
    urls = {"success_url": "https://a.example/ok", "cancel_url": "https://a.example/no"}
    defaults = {"purpose": "setup", "set_default": True, "now": NOW, **urls}
    return sessions.create_checkout(session, scope, customer_id=customer_id, **{**defaults, **other})


def test_a_payment_comes_back_as_it_was_made(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        draft = a_draft(session, scope)
        made = a_payment(session, scope, "acme", invoice_id=draft.id, metadata={"a": "b"})
        assert payments.get_payment(session, scope, made.id) == made
        assert (made.customer_id, made.status, made.attempt) == (draft.customer_id, "pending", 1)
        assert payments.list_payments(session, scope, invoice_id=draft.id).items == [made]
        assert payments.list_payments(session, scope, status="failed").items == []
        with pytest.raises(NotFound, match="no such invoice"):
            a_payment(session, scope, "acme", invoice_id="inv_none")


def test_S1_a_payment_of_the_gateway_is_recorded_once_also_by_several_at_once(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        a_customer(session, scope)
    found = in_threads([lambda: ledger.run(lambda session: a_report(session, scope, "succeeded"))] * 4)
    assert len({record.id for record in found}) == 1
    with ledger.begin() as session, pytest.raises(Conflict, match="recorded already"):
        a_payment(session, scope, "acme", gateway_payment_id="pi_1")


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        (["pending", "processing", "succeeded"], "succeeded"),
        (["succeeded", "processing", "pending"], "succeeded"),
        (["succeeded", "failed"], "succeeded"),
        (["failed", "processing"], "failed"),
        (["failed", "succeeded"], "succeeded"),
        (["succeeded", "refunded", "succeeded"], "refunded"),
        (["canceled", "processing"], "canceled"),
        (["processing", "requires_action", "processing", "failed"], "failed"),
    ],
)
def test_S3_an_old_report_never_moves_a_payment_backwards(ledger: Ledger, reports: list[str], expected: str) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        a_customer(session, scope)
        for status in reports:
            found = a_report(session, scope, status, failure_code="card_declined" if status == "failed" else None)
    assert found.status == expected
    assert found.failure_code == ("card_declined" if expected == "failed" else None)


def test_a_new_attempt_reopens_a_failed_payment_and_an_old_one_does_not(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        a_customer(session, scope)
        a_report(session, scope, "failed", attempt=2, failure_code="card_declined")
        assert a_report(session, scope, "processing", attempt=2).status == "failed"
        again = a_report(session, scope, "processing", attempt=3)
        assert (again.status, again.attempt, again.failure_code) == ("processing", 3, None)


def test_a_payment_learns_its_gateways_id_once(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        a_customer(session, scope)
        made = a_payment(session, scope, "acme")
        payments.update_status(session, scope, made.id, "processing", gateway_payment_id="pi_7")
        done = payments.update_status(session, scope, made.id, "succeeded", succeeded_at=later(days=1))
        assert (done.gateway_payment_id, done.succeeded_at) == ("pi_7", later(days=1))
        assert payments.by_gateway_id(session, scope, "stripe", "pi_7") == done
        other = a_payment(session, scope, "acme")
        with pytest.raises(Conflict, match="another payment"):
            payments.update_status(session, scope, other.id, "processing", gateway_payment_id="pi_7")


def test_a_checkout_is_recorded_before_and_completed_after_the_providers_page(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        customer = a_customer(session, scope)
        made = a_checkout(session, scope, "acme")
        assert (made.status, made.customer_id, made.gateway_session_id) == ("open", customer.id, None)
        sessions.attach_gateway_session(
            session,
            scope,
            made.id,
            gateway_session_id="cs_1",
            url="https://pay.example/c",
            setup_intent_id="seti_1",
            expires_at=later(days=1),
        )
        done = sessions.close_checkout(session, scope, made.id, "complete")
        assert (done.status, done.setup_intent_id, done.url) == ("complete", "seti_1", "https://pay.example/c")
        assert sessions.by_gateway_session(session, scope, "cs_1") == done
        assert sessions.close_checkout(session, scope, made.id, "expired") == done
        assert sessions.list_checkouts(session, scope, customer_id=customer.id).items == [done]


def test_an_expired_checkout_that_was_completed_after_all_is_complete(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        a_customer(session, scope)
        made = a_checkout(session, scope, "acme")
        sessions.close_checkout(session, scope, made.id, "expired")
        assert sessions.close_checkout(session, scope, made.id, "complete", "seti_2").setup_intent_id == "seti_2"
        assert sessions.get_checkout(session, scope, made.id).status == "complete"


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        (("needs_response", "under_review", "lost"), "lost"),
        (("lost", "under_review", "needs_response"), "lost"),
        (("lost", "appeal_needs_response", "appeal_under_review", "won"), "won"),
        (("appeal_needs_response", "lost", "under_review"), "appeal_needs_response"),
        (("warning_needs_response", "needs_response", "won"), "won"),
    ],
)
def test_S3_a_dispute_moves_forwards_and_a_lost_one_may_be_appealed(
    ledger: Ledger, looks: tuple[str, ...], expected: str
) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        payment = a_payment(session, scope, a_customer(session, scope).id)
        for status in looks:
            entry = PaymentEntry("du_1", Decimal("100.00"), status, "fraudulent", {}, NOW)
            payment_history.record(session, scope, payment.id, "dispute", [entry])
        (kept,) = payment_history.list_history(session, scope, payment.id)
    assert kept.status == expected
