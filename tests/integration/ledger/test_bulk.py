"""Many rows at once are stored as one by one, on both databases; and what cannot be stored leaves nothing behind."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select, true
from sqlalchemy.exc import IntegrityError

from ledger.db import Ledger
from ledger.models import AuditEntry, Quantity
from ledger.store.bulk import insert_new_rows, insert_rows, update_rows, upsert_rows
from ledger.store.quantities import QuantityRecord, put_quantity, quantities_of, quantities_of_periods
from tests.support.ledger_rows import JANUARY, NOW, a_customer, a_plan, a_quantity, a_scope, a_subscription

# What a text may hold that COPY, an array or JSON would write otherwise.
ODD = 'tab\t line\n back\\slash \\N "quoted" {braces}, NULL, ünïcödé 😀'


def entries(scope: Any, *ids: str, **other: Any) -> list[dict[str, Any]]:
    return [
        {
            "tenant_id": scope.tenant_id,
            "environment_id": scope.environment_id,
            "id": id_,
            "actor": "me",
            "action": "tested",
            "entity": "row",
            "entity_id": id_,
            "detail": {},
            "at": NOW,
        }
        | other
        for id_ in ids
    ]


@pytest.mark.parametrize("insert", [insert_rows, insert_new_rows, upsert_rows])
def test_rows_come_back_to_the_letter_whichever_way_they_went(ledger: Ledger, insert: Any) -> None:
    detail = {"text": ODD, "none": None, "list": ["1.50", 2, True], "empty": []}
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    with ledger.begin() as session:
        scope = a_scope(session)
        insert(session, AuditEntry, entries(scope, "aud_1", "aud_2", actor=ODD, detail=detail, at=at))
    with ledger.read() as session:
        found = session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
    assert [(one.id, one.actor, one.detail, one.at) for one in found] == [
        (id_, ODD, detail, at.astimezone(UTC)) for id_ in ("aud_1", "aud_2")
    ]


def test_a_row_that_is_there_stops_an_insert_and_is_kept_or_overwritten_by_the_others(ledger: Ledger) -> None:
    with ledger.begin() as session:
        plan = a_plan(session, scope := a_scope(session))
        subscription = a_subscription(session, scope, customer_id=a_customer(session, scope).id, plan_id=plan.id)
        first = a_quantity(subscription.id, plan, quantity=Decimal("1.50"))
        put_quantity(session, scope, first)
        row = {name: getattr(first, name) for name in QuantityRecord.__dataclass_fields__} | {
            "tenant_id": scope.tenant_id,
            "environment_id": scope.environment_id,
        }
        later = row | {"segment_start": JANUARY.start + timedelta(days=1)}
        with pytest.raises(IntegrityError), session.begin_nested():
            insert_rows(session, Quantity, [later, row])
        assert quantities_of(session, scope, subscription.id, JANUARY.start) == [first]

        insert_new_rows(session, Quantity, [row | {"quantity": Decimal(7)}, later | {"quantity": Decimal("2.0")}])
        read = quantities_of(session, scope, subscription.id, JANUARY.start)
        assert [str(each.quantity) for each in read] == ["1.50", "2.0"]

        upsert_rows(session, Quantity, [row | {"quantity": Decimal("3.10")}, later | {"quantity": Decimal("1E+3")}])
        read = quantities_of(session, scope, subscription.id, JANUARY.start)
        assert [str(each.quantity) for each in read] == ["3.10", "1000"]

        key = ("tenant_id", "environment_id", "subscription_id", "period_start", "price_id", "segment_start")
        changed = [{name: each[name] for name in key} | {"events": 9} for each in (row, later)]
        assert update_rows(session, Quantity, changed, Quantity.quantity_hash == "nothing") == 0
        assert update_rows(session, Quantity, changed, true()) == 2
        periods = [(subscription.id, JANUARY.start), ("sub_none", JANUARY.start)]
        (found,) = quantities_of_periods(session, scope, periods).values()
        assert [(str(each.quantity), each.events) for each in found] == [("3.10", 9), ("1000", 9)]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        pytest.param({"detail": {"amount": 1.5}}, TypeError, id="a float"),
        pytest.param({"at": datetime(2026, 1, 1)}, ValueError, id="a time without a zone"),  # noqa: DTZ001
    ],
)
def test_M1_what_is_not_exact_is_refused_in_bulk_as_well(
    ledger: Ledger, value: dict[str, Any], error: type[Exception]
) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        with pytest.raises(Exception) as refused, session.begin_nested():  # noqa: PT011 - SQLAlchemy may wrap it
            insert_rows(session, AuditEntry, entries(scope, "aud_1", **value))
        assert error in {type(refused.value), type(refused.value.__cause__), type(getattr(refused.value, "orig", None))}
        assert session.scalars(select(AuditEntry)).all() == []
