"""Our credit notes against the provider's, both ways.

A note that was issued in the provider's Dashboard has lowered what is asked for there, so it is taken over here; one
that was never sent is sent; one that was voided there is void here. What cannot be settled so is for people.
"""

from collections.abc import Iterator
from dataclasses import replace

from billing.errors import Conflict, TallyError
from billing.money import format_decimal
from billing.ports import ProviderNotFound, ProviderRejected, ProviderUnavailable
from billing.refund_port import OUR_CREDIT_NOTE, ProviderCreditNote
from ledger.store import credit_notes, mappings
from ledger.store.credit_notes import CreditNoteRecord
from ledger.store.mappings import MappingRecord
from pipelines.steps.comparison import JUST_MADE, PAGE, Comparison, Difference
from pipelines.steps.credit_invoice import ENTITY
from pipelines.steps.follow_invoice import ENTITY as INVOICE
from pipelines.steps.follow_invoice import is_of
from pipelines.steps.sync_credit_notes import follow_note, push_notes, sent_amount

__all__ = ["compare_credit_notes"]


def compare_credit_notes(work: Comparison) -> tuple[list[Difference], int]:
    """What differs, and how many notes of ours were compared."""
    theirs = {each.id: each for each in work.link.gateway.list_credit_notes(work.since - JUST_MADE)}
    found: list[Difference] = []
    compared = 0
    for note in _ours(work):
        invoice = work.mapping(INVOICE, note.invoice_id)
        if invoice is None or invoice.provider_id is None or sent_amount(note) <= 0:
            continue
        mapping = work.mapping(ENTITY, note.id)
        compared += 1
        if mapping is None or mapping.provider_id is None or mapping.state != "done":
            found += _unsent(work, note, mapping)
        else:
            found += _compared(work, note, theirs.get(mapping.provider_id), mapping.provider_id)
    for seen in theirs.values():
        found += _extra(work, seen)
    return found, compared


def _ours(work: Comparison) -> Iterator[CreditNoteRecord]:
    cursor = None
    while True:
        with work.ledger.read() as session:
            page = credit_notes.list_notes(session, work.scope, cursor=cursor, limit=PAGE)
        yield from (note for note in page.items if note.created_at >= work.since)
        cursor = page.next_cursor
        if cursor is None or page.items[-1].created_at < work.since:
            return


def _unsent(work: Comparison, note: CreditNoteRecord, mapping: MappingRecord | None) -> Iterator[Difference]:
    if note.status == "void" or not work.is_settled(note.created_at):
        return
    why = "not sent" if mapping is None else mapping.last_error or mapping.state
    if work.repair:
        try:
            why = push_notes(work.ledger, work.scope, work.link, note.invoice_id, work.now) or why
        except ProviderUnavailable:
            raise
        except Conflict as error:
            why = f"{error.code}: {error.detail}"
        mapping = work.mapping(ENTITY, note.id)
    repaired = mapping is not None and mapping.state == "done"
    provider_id = None if mapping is None else mapping.provider_id
    yield Difference(
        "credit_note_not_sent", ENTITY, note.id, provider_id, f"{_here(note)}, {why}", "not there", repaired
    )


def _compared(
    work: Comparison, note: CreditNoteRecord, seen: ProviderCreditNote | None, provider_id: str
) -> Iterator[Difference]:
    try:
        seen = seen or work.link.gateway.get_credit_note(provider_id)
    except ProviderNotFound:
        yield Difference("credit_note_missing", ENTITY, note.id, provider_id, _here(note), "gone")
        return
    if (seen.currency, seen.total) != (note.currency.upper(), sent_amount(note)):
        yield Difference("credit_note_amount_differs", ENTITY, note.id, seen.id, _here(note), _there(seen))
    if seen.status != note.status:
        differs = Difference("credit_note_state_differs", ENTITY, note.id, seen.id, _here(note), _there(seen))
        yield replace(differs, repaired=work.repair and _settled(work, note, seen))


def _settled(work: Comparison, note: CreditNoteRecord, seen: ProviderCreditNote) -> bool:
    try:
        follow_note(work.ledger, work.scope, work.link, seen.id, work.now)
    except (Conflict, ProviderRejected):
        return False
    with work.ledger.read() as session:
        return credit_notes.get_note(session, work.scope, note.id).status == seen.status


def _extra(work: Comparison, seen: ProviderCreditNote) -> Iterator[Difference]:
    """A note over there that none of ours stands for, on an invoice of ours. One that is void there changed nothing."""
    if seen.status == "void" or work.is_mapped(ENTITY, seen.id):
        return
    with work.ledger.read() as session:
        invoice = mappings.by_provider_id(session, work.scope, work.link.connection.id, INVOICE, seen.invoice_id)
    if invoice is None:
        return
    ours = seen.metadata.get(OUR_CREDIT_NOTE) if is_of(work.scope, seen.metadata) else None
    here, repaired = "not mapped", False
    if work.repair:
        try:
            follow_note(work.ledger, work.scope, work.link, seen.id, work.now)
        except ProviderUnavailable:
            raise
        except TallyError as error:
            here = f"not taken over, {error.code}: {error.detail}"
        with work.ledger.read() as session:
            taken = mappings.by_provider_id(session, work.scope, work.link.connection.id, ENTITY, seen.id)
        repaired, ours = taken is not None, ours if taken is None else taken.entity_id
    yield Difference("credit_note_extra", ENTITY, ours, seen.id, here, _there(seen), repaired)


def _here(note: CreditNoteRecord) -> str:
    return f"{note.status}, {format_decimal(sent_amount(note))} {note.currency}"


def _there(seen: ProviderCreditNote) -> str:
    return f"{seen.status}, {format_decimal(seen.total)} {seen.currency}"
