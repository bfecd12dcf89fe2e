"""Credit notes never take back more than there is, on SQLite and on PostgreSQL."""

from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from billing.errors import Conflict, InvalidInput
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import invoices
from ledger.store.invoices import InvoiceRecord
from pipelines.steps.credit_invoice import NewCreditNote, issue_note, void_note
from tests.support.at_once import in_threads
from tests.support.ledger_rows import NOW, a_draft, a_scope, priced


def a_final_invoice(session: Session, scope: Scope, amount: str = "100.00") -> InvoiceRecord:
    draft = a_draft(session, scope)
    priced(session, scope, draft.id, amount)
    return invoices.finalize(session, scope, draft.id, NOW)


def test_two_credit_notes_at_once_never_take_back_more_than_the_invoice(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        invoice = a_final_invoice(session, scope)

    def credit() -> str:
        wanted = NewCreditNote(invoice.id, "Outage", amount=Decimal(60))
        try:
            return ledger.run(lambda session: issue_note(session, scope, wanted, "key_1", NOW)).number
        except InvalidInput as error:
            return error.code

    # The one that was refused leaves no gap.
    assert sorted(in_threads([credit] * 2)) == ["CN-202601-00001", "amount_over_left"]
    with ledger.begin() as session:
        rest = issue_note(session, scope, NewCreditNote(invoice.id, "All of it"), "key_1", NOW)
        assert (rest.number, str(rest.total)) == ("CN-202601-00002", "40.00")
        after = invoices.get_invoice(session, scope, invoice.id)
        assert (str(after.amount_credited), str(after.amount_remaining), after.payment_status) == (
            "100.00",
            "0.00",
            "paid",
        )


def test_a_void_credit_note_leaves_the_amount_due_again_and_keeps_its_number(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        invoice = a_final_invoice(session, scope)
        note = issue_note(session, scope, NewCreditNote(invoice.id, "x", amount=Decimal(60)), "key_1", NOW)
        voided = void_note(session, scope, note.id, "Wrong invoice", "key_1", NOW)
        assert (voided.status, voided.number) == ("void", note.number)
        assert void_note(session, scope, note.id, "Again", "key_1", NOW) == voided
        assert str(invoices.get_invoice(session, scope, invoice.id).amount_remaining) == "100.00"


def test_only_a_finalized_invoice_is_credited(ledger: Ledger) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        draft = priced(session, scope, a_draft(session, scope).id)
        with pytest.raises(Conflict, match="draft"):
            issue_note(session, scope, NewCreditNote(draft.id, "x"), "key_1", NOW)


@pytest.mark.parametrize("statement", ["UPDATE credit_notes SET total = '1'", "DELETE FROM credit_notes"])
def test_the_database_refuses_to_change_an_issued_note(ledger: Ledger, statement: str) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        issue_note(session, scope, NewCreditNote(a_final_invoice(session, scope).id, "x"), "key_1", NOW)
    with pytest.raises(DBAPIError, match="never changes"), ledger.begin() as session:
        session.execute(text(statement))
