"""`billing.refund_port.RefundGateway` over the official Stripe client."""

from typing import Any, cast

from billing.refund_port import (
    OUR_CREDIT_NOTE,
    OUR_REFUND,
    NewCreditNote,
    NewRefund,
    ProviderCreditNote,
    ProviderRefund,
)
from integrations.stripe import refunds
from integrations.stripe.calls import PAGE, Calls


class RefundCalls(Calls):
    """Refunds and credit notes at Stripe."""

    def create_refund(self, refund: NewRefund, key: str) -> ProviderRefund:
        params = cast("Any", refunds.refund_params(refund))
        return refunds.made_refund(self._one(lambda: self._api.refunds.create(params, {"idempotency_key": key})))

    def find_refund(self, payment_id: str, our_id: str) -> ProviderRefund | None:
        params = cast("Any", {"payment_intent": payment_id, "limit": PAGE})
        found = self._carrying(OUR_REFUND, our_id, lambda: self._api.refunds.list(params))
        return None if found is None else refunds.made_refund(found)

    def create_credit_note(self, note: NewCreditNote, key: str) -> ProviderCreditNote:
        params = cast("Any", refunds.credit_note_params(note))
        return refunds.credit_note(self._one(lambda: self._api.credit_notes.create(params, {"idempotency_key": key})))

    def get_credit_note(self, credit_note_id: str) -> ProviderCreditNote:
        return refunds.credit_note(self._one(lambda: self._api.credit_notes.retrieve(credit_note_id)))

    def find_credit_note(self, invoice_id: str, our_id: str) -> ProviderCreditNote | None:
        params = cast("Any", {"invoice": invoice_id, "limit": PAGE})
        found = self._carrying(OUR_CREDIT_NOTE, our_id, lambda: self._api.credit_notes.list(params))
        return None if found is None else refunds.credit_note(found)

    def void_credit_note(self, credit_note_id: str, key: str) -> ProviderCreditNote:
        return refunds.credit_note(
            self._one(lambda: self._api.credit_notes.void_credit_note(credit_note_id, None, {"idempotency_key": key}))
        )
