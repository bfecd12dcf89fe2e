"""Refunds and credit notes as Stripe parameters, and back. Pure; amounts as in `mapping`."""

from decimal import Decimal
from typing import Any

from billing.refund_port import (
    LinkedRefund,
    NewCreditNote,
    NewRefund,
    ProviderCreditNote,
    ProviderNoteLine,
    ProviderRefund,
)
from integrations.stripe.mapping import LONGEST_DESCRIPTION, Json, from_stripe_amount, reference, to_stripe_amount

# The reasons that Stripe has a word for. https://docs.stripe.com/api/refunds/create#create_refund-reason
_REFUND_REASONS = frozenset({"duplicate", "fraudulent", "requested_by_customer"})


def refund_params(refund: NewRefund) -> dict[str, Any]:
    params: dict[str, Any] = {
        "payment_intent": refund.payment_id,
        "amount": to_stripe_amount(refund.amount, refund.currency),
        "metadata": dict(refund.metadata),
    }
    return {**params, "reason": refund.reason} if refund.reason in _REFUND_REASONS else params


def credit_note_params(note: NewCreditNote) -> dict[str, Any]:
    """Lines are amounts of ours with the taxes that go along, never a share that Stripe would round itself."""

    def amount(value: Decimal) -> int:
        return to_stripe_amount(value, note.currency)

    params: dict[str, Any] = {"invoice": note.invoice_id, "memo": note.memo, "metadata": dict(note.metadata)}
    if note.lines:
        params["lines"] = [
            {
                "type": "custom_line_item",
                "description": line.description[:LONGEST_DESCRIPTION],
                "quantity": 1,
                "unit_amount": amount(line.amount),
                **(
                    {
                        "tax_amounts": [
                            {
                                "tax_rate": tax.tax_rate_id,
                                "amount": amount(tax.amount),
                                "taxable_amount": amount(tax.taxable),
                            }
                            for tax in line.taxes
                        ]
                    }
                    if line.taxes
                    else {}
                ),
            }
            for line in note.lines
        ]
    else:
        params["amount"] = amount(note.amount)
    if note.refunds:
        params["refunds"] = [
            {"type": "refund", "refund": each.refund_id, "amount_refunded": amount(each.amount)}
            for each in note.refunds
        ]
    if note.outside:
        params["out_of_band_amount"] = amount(note.outside)
    return params


def made_refund(body: Json) -> ProviderRefund:
    return ProviderRefund(
        id=body["id"],
        payment_id=reference(body.get("payment_intent")),
        status=body["status"],
        currency=body["currency"].upper(),
        amount=from_stripe_amount(body["amount"], body["currency"]),
        failure_reason=body.get("failure_reason"),
        metadata=body.get("metadata") or {},
    )


def credit_note(body: Json) -> ProviderCreditNote:
    currency = body["currency"]
    return ProviderCreditNote(
        id=body["id"],
        invoice_id=reference(body["invoice"]) or "",
        status=body["status"],
        currency=currency.upper(),
        total=from_stripe_amount(body["total"], currency),
        pre_payment=from_stripe_amount(body["pre_payment_amount"], currency),
        post_payment=from_stripe_amount(body["post_payment_amount"], currency),
        refunds=tuple(
            LinkedRefund(reference(each["refund"]) or "", from_stripe_amount(each["amount_refunded"], currency))
            for each in body.get("refunds") or ()
        ),
        memo=body.get("memo"),
        metadata=body.get("metadata") or {},
    )


def credit_note_line(body: Json, currency: str) -> ProviderNoteLine:
    """Less its discounts, with the taxes on top."""
    on_top = sum(tax["amount"] for tax in body.get("taxes") or () if tax["tax_behavior"] == "exclusive")
    gross = body["amount"] - body["discount_amount"] + on_top
    return ProviderNoteLine(reference(body.get("invoice_line_item")), from_stripe_amount(gross, currency))
