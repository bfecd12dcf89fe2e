"""Credit is never made, lost or spent twice, on SQLite and on PostgreSQL."""

import random
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from billing.errors import Conflict
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import credit_grants, invoices, plans
from ledger.store.credit_grants import NewGrant
from ledger.store.invoices import InvoiceRecord
from tests.support.at_once import in_threads
from tests.support.ledger_rows import JANUARY, NOW, a_customer, a_line, a_plan, a_scope, a_subscription, later

HUNDRED = NewGrant(Decimal(100), "USD", "purchased")


def a_priced_draft(session: Session, scope: Scope, plan_id: str, customer_id: str, amount: str) -> InvoiceRecord:
    """A draft of a new subscription of the customer."""
    subscription = a_subscription(session, scope, customer_id=customer_id, plan_id=plan_id)
    draft = invoices.ensure_draft(session, scope, subscription, JANUARY, NOW)
    price = plans.get_plan(session, scope, subscription.plan_id).prices[0]
    return invoices.replace_lines(session, scope, draft.id, [a_line(price.id, amount=amount)], "h", NOW, "1", NOW)


def balance(session: Session, scope: Scope, customer_id: str) -> list[str]:
    return [str(each.balance) for each in credit_grants.balances(session, scope, customer_id, NOW)]


def test_two_invoices_that_are_final_at_once_never_spend_the_same_credit(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        plan, customer = a_plan(session, scope), a_customer(session, scope)
        drafts = [a_priced_draft(session, scope, plan.id, customer.id, "80.00") for _ in range(2)]
        credit_grants.grant(session, scope, customer.id, HUNDRED, NOW)

    def finalize(invoice_id: str) -> InvoiceRecord:
        return ledger.run(lambda session: invoices.finalize(session, scope, invoice_id, NOW))

    final = in_threads([lambda it=it: finalize(it.id) for it in drafts])
    assert sorted(str(invoice.credits_applied) for invoice in final) == ["20.00", "80.00"]
    assert sorted(str(invoice.amount_due) for invoice in final) == ["0.00", "60.00"]
    with ledger.read() as session:
        assert balance(session, scope, customer.id) == ["0.00"]


def test_credit_is_drawn_by_priority_then_by_what_expires_first_then_by_age(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        plan, customer = a_plan(session, scope), a_customer(session, scope)
        terms = {
            "oldest": {"effective_at": later(days=-9)},
            "expires last": {"expires_at": later(days=20)},
            "expires first": {"expires_at": later(days=10)},
            "first": {"priority": 1},
            "expired": {"effective_at": later(days=-9), "expires_at": later(days=-1), "priority": 0},
            "later": {"effective_at": later(days=1), "priority": 0},
        }
        names = {
            credit_grants.grant(
                session, scope, customer.id, NewGrant(Decimal(10), "USD", "purchased", **each), later(days=-10)
            ).id: name
            for name, each in terms.items()
        }
        draft = a_priced_draft(session, scope, plan.id, customer.id, "35.00")
        final = invoices.finalize(session, scope, draft.id, NOW)
        assert [(names[it.grant_id], str(it.amount)) for it in final.credits] == [
            ("first", "10.00"),
            ("expires first", "10.00"),
            ("expires last", "10.00"),
            ("oldest", "5.00"),
        ]


def test_a_total_below_zero_becomes_credit_which_a_void_takes_back_unless_it_is_spent(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        plan, customer = a_plan(session, scope), a_customer(session, scope)
        owed = a_priced_draft(session, scope, plan.id, customer.id, "-12.50")
        final = invoices.finalize(session, scope, owed.id, NOW)
        assert (str(final.amount_due), final.payment_status) == ("0.00", "paid")
        assert balance(session, scope, customer.id) == ["12.50"]
        other = invoices.finalize(session, scope, a_priced_draft(session, scope, plan.id, customer.id, "10.00").id, NOW)
        with pytest.raises(Conflict, match="spent"):
            invoices.void(session, scope, final.id, NOW)
        invoices.void(session, scope, other.id, NOW)
        invoices.void(session, scope, final.id, NOW)
        assert balance(session, scope, customer.id) == ["0.00"]


def test_the_balance_is_the_sum_of_the_movements_over_any_history(ledger: Ledger) -> None:
    chance = random.Random(7)  # noqa: S311 - the same history each time
    with ledger.begin() as session:
        scope = a_scope(session)
        plan, customer = a_plan(session, scope), a_customer(session, scope)
        grants: list[str] = []
        final: list[str] = []
        for step in range(40):
            now = NOW + timedelta(days=step)
            match chance.randrange(5):
                case 0 | 1:
                    expires = now + timedelta(days=chance.randrange(1, 20))
                    wanted = NewGrant(Decimal(chance.randrange(1, 50)), "USD", "purchased", expires_at=expires)
                    grants.append(credit_grants.grant(session, scope, customer.id, wanted, now).id)
                case 2:
                    amount = str(chance.randrange(-9, 60))
                    draft = a_priced_draft(session, scope, plan.id, customer.id, amount)
                    final.append(invoices.finalize(session, scope, draft.id, now).id)
                case 3 if grants:
                    credit_grants.void_grant(session, scope, grants.pop(), now)
                case 4 if final:
                    voided = final.pop()
                    if credit_grants.grant_of(session, scope, "negative_invoice", voided) is None:
                        invoices.void(session, scope, voided, now)
            credit_grants.expire(session, scope, customer.id, now)
            moved = credit_grants.list_movements(session, scope, customer.id, limit=100).items
            left = credit_grants.list_grants(session, scope, customer.id, limit=100).items
            assert sum(it.amount for it in moved) == sum(it.remaining for it in left)
            assert sum(it.balance for it in credit_grants.balances(session, scope, customer.id, now)) == sum(
                it.remaining for it in left
            )
            assert all(0 <= it.remaining <= it.amount for it in left)
            if moved:
                assert moved[0].balance_after == sum(it.amount for it in moved)
        assert {it.kind for it in moved} == {"granted", "applied", "returned", "expired", "voided"}


def test_a_source_gives_credit_once(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        customer = a_customer(session, scope)
        rest = NewGrant(Decimal(5), "USD", "overpayment", "pay_1")
        made = [credit_grants.grant(session, scope, customer.id, rest, NOW).id for _ in range(2)]
        assert made[0] == made[1]
        assert balance(session, scope, customer.id) == ["5.00"]


def test_expired_credit_is_not_in_the_balance_before_anybody_writes_it_down(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        customer = a_customer(session, scope)
        wanted = NewGrant(Decimal(5), "USD", "promotional", expires_at=later(days=1))
        credit_grants.grant(session, scope, customer.id, wanted, NOW)
        assert credit_grants.balances(session, scope, customer.id, later(days=1)) == []
        assert credit_grants.expiring(session, later(days=1)) == [(scope, customer.id)]
        assert credit_grants.expire(session, scope, customer.id, later(days=1)) == 1
        assert credit_grants.expiring(session, later(days=1)) == []


@pytest.mark.parametrize("statement", ["UPDATE credit_movements SET amount = '1'", "DELETE FROM credit_movements"])
def test_the_database_refuses_to_change_a_movement(ledger: Ledger, statement: str) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        credit_grants.grant(session, scope, a_customer(session, scope).id, HUNDRED, NOW)
    with pytest.raises(DBAPIError, match="only added"), ledger.begin() as session:
        session.execute(text(statement))
