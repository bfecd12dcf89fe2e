"""Lists: newest first, every row once, bounded, with cursors that cannot be made up."""

import base64

import pytest
from sqlalchemy.orm import Session

from billing.errors import InvalidInput
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import customers
from tests.support.ledger_rows import a_customer, a_scope, later


def all_pages(session: Session, scope: Scope, limit: int) -> list[list[str]]:
    pages, cursor = [], None
    while True:
        page = customers.list_customers(session, scope, cursor, limit)
        pages.append([found.external_id for found in page.items])
        cursor = page.next_cursor
        if cursor is None:
            return pages


def test_pages_hold_every_row_once_newest_first(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        for number in range(5):
            a_customer(session, scope, f"c{number}", now=later(seconds=number))
        assert all_pages(session, scope, 2) == [["c4", "c3"], ["c2", "c1"], ["c0"]]
        assert all_pages(session, scope, 5) == [["c4", "c3", "c2", "c1", "c0"]]


def test_rows_of_the_same_moment_are_not_lost_between_pages(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        for number in range(5):
            a_customer(session, scope, f"c{number}")
        assert sorted(found for page in all_pages(session, scope, 2) for found in page) == [
            "c0",
            "c1",
            "c2",
            "c3",
            "c4",
        ]


def test_a_row_added_meanwhile_does_not_shift_the_next_page(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        for number in range(3):
            a_customer(session, scope, f"c{number}", now=later(seconds=number))
        first = customers.list_customers(session, scope, limit=2)
        a_customer(session, scope, "newer", now=later(hours=1))
        second = customers.list_customers(session, scope, first.next_cursor, 2)
    assert [found.external_id for found in second.items] == ["c0"]


@pytest.mark.parametrize("limit", [0, -1, 101])
def test_a_limit_is_1_to_100(ledger: Ledger, limit: int) -> None:
    with ledger.begin() as session, pytest.raises(InvalidInput, match="between 1 and 100"):
        customers.list_customers(session, a_scope(session), limit=limit)


MADE_UP = [b"[]", b"{", b'["2026-01-01T00:00:00","x"]', b'["2026-01-01T00:00:00+00:00",1]', b'[1,"x"]', b"7", b"\xff"]


@pytest.mark.parametrize("cursor", ["é", "!!", "abc", *(base64.urlsafe_b64encode(raw).decode() for raw in MADE_UP)])
def test_a_made_up_cursor_is_refused(ledger: Ledger, cursor: str) -> None:
    with ledger.begin() as session, pytest.raises(InvalidInput) as caught:
        customers.list_customers(session, a_scope(session), cursor)
    assert caught.value.code == "cursor_invalid"
