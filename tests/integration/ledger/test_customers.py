"""Customers: one of each external id, found by either name, never hidden by another."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from billing.errors import Conflict, InvalidInput, NotFound
from ledger.db import Ledger
from ledger.ids import new_id
from ledger.store import customers
from tests.support.ledger_rows import NOW, a_customer, a_scope


def test_a_customer_is_found_by_either_of_its_names(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_customer(session, scope, "acme_corp_001", email="billing@acme.com", metadata={"size": "large"})
        assert customers.get_customer(session, scope, made.id) == made
        assert customers.get_customer(session, scope, "acme_corp_001") == made
        assert customers.external_ids(session, scope, [made.id, "cus_none"]) == {made.id: "acme_corp_001"}


def test_external_ids_are_looked_up_in_any_number(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_customer(session, scope, "acme")
        ids = [*(f"cus_{number}" for number in range(70_000)), made.id]
        assert customers.external_ids(session, scope, ids) == {made.id: "acme"}


def test_a_customer_without_an_external_id_is_its_own(ledger: Ledger) -> None:
    with ledger.begin() as session:
        made = a_customer(session, a_scope(session), None)
    assert made.external_id == made.id


def test_an_external_id_is_taken_once_per_environment(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope, other = a_scope(session), a_scope(session, environment="second")
        a_customer(session, scope, "acme")
        with pytest.raises(Conflict) as caught:
            a_customer(session, scope, "acme")
        a_customer(session, other, "acme")
    assert caught.value.code == "customer_exists"


@pytest.mark.parametrize("change", [str, str.lower])
def test_an_external_id_cannot_pose_as_another_customer(ledger: Ledger, change: type[str]) -> None:
    with ledger.begin() as session, pytest.raises(InvalidInput, match="given by us"):
        a_customer(session, a_scope(session), change(new_id("cus", NOW)))


def test_an_update_changes_what_it_names_and_can_clear_it(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        a_customer(session, scope, "acme", email="old@acme.com", metadata={"a": "1"})
        found = customers.update_customer(session, scope, "acme", {"email": None, "metadata": {"b": "2"}})
        assert (found.name, found.email, found.metadata) == ("Acme", None, {"b": "2"})
        assert customers.update_customer(session, scope, "acme", {}) == found
        with pytest.raises(NotFound, match="no such customer"):
            customers.update_customer(session, scope, "nobody", {"name": "X"})


def test_an_unknown_status_is_refused_by_the_database(ledger: Ledger) -> None:
    with ledger.begin() as session:
        a_customer(session, a_scope(session))
    with pytest.raises(IntegrityError), ledger.begin() as session:
        session.execute(text("UPDATE customers SET status = 'asleep'"))
