"""`billing.refund_port.RefundGateway` over the official Stripe client."""

from datetime import datetime
from typing import Any, cast

from billing.refund_port import (
    OUR_CREDIT_NOTE,
    OUR_REFUND,
    NewCreditNote,
    NewRefund,
    ProviderCreditNote,
    ProviderNoteLine,
    ProviderRefund,
)
from integrations.stripe import refunds
from integrations.stripe.calls import PAGE, Calls


class RefundCalls(Calls):
    """Refunds and credit notes at Stripe."""

    def create_refund(self, refund: NewRefund, key: str) -> ProviderRefund:
        params = cast("Any", refunds.refund_params(refund))
        return refunds.made_refund(self._one(lambda: self._api.refunds.create(params, {"idempotency_key": key})))

    def get_refund(self, refund_id: str) -> ProviderRefund:
        return refunds.made_refund(self._one(lambda: self._api.refunds.retrieve(refund_id)))

    def list_refunds(self, since: datetime) -> list[ProviderRefund]:
        params = cast("Any", {"created": {"gte": int(since.timestamp())}, "limit": PAGE})
        return [refunds.made_refund(body) for body in self._all(lambda: self._api.refunds.list(params))]

    def find_refund(self, payment_id: str, our_id: str) -> ProviderRefund | None:
        params = cast("Any", {"payment_intent": payment_id, "limit": PAGE})
        found = self._carrying(OUR_REFUND, our_id, lambda: self._api.refunds.list(params))
        return None if found is None else refunds.made_refund(found)

    def create_credit_note(self, note: NewCreditNote, key: str) -> ProviderCreditNote:
        params = cast("Any", refunds.credit_note_params(note))
        return refunds.credit_note(self._one(lambda: self._api.credit_notes.create(params, {"idempotency_key": key})))

    def get_credit_note(self, credit_note_id: str) -> ProviderCreditNote:
        return refunds.credit_note(self._one(lambda: self._api.credit_notes.retrieve(credit_note_id)))

    def get_credit_note_lines(self, credit_note_id: str, currency: str) -> list[ProviderNoteLine]:
        params = cast("Any", {"limit": PAGE})
        bodies = self._all(lambda: self._api.credit_notes.line_items.list(credit_note_id, params))
        return [refunds.credit_note_line(body, currency) for body in bodies]

    def list_credit_notes(self, since: datetime) -> list[ProviderCreditNote]:
        params = cast("Any", {"created": {"gte": int(since.timestamp())}, "limit": PAGE})
        return [refunds.credit_note(body) for body in self._all(lambda: self._api.credit_notes.list(params))]

    def find_credit_note(self, invoice_id: str, our_id: str) -> ProviderCreditNote | None:
        params = cast("Any", {"invoice": invoice_id, "limit": PAGE})
        found = self._carrying(OUR_CREDIT_NOTE, our_id, lambda: self._api.credit_notes.list(params))
        return None if found is None else refunds.credit_note(found)

    def void_credit_note(self, credit_note_id: str, key: str) -> ProviderCreditNote:
        return refunds.credit_note(
            self._one(lambda: self._api.credit_notes.void_credit_note(credit_note_id, None, {"idempotency_key": key}))
        )
