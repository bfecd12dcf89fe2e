"""/v1/charges: one attempt to take money from a card, successful or not."""

from typing import Any

from integrations.stripe.sandbox import events, pagination, search
from integrations.stripe.sandbox.cards import Decline
from integrations.stripe.sandbox.context import Context, new_id
from integrations.stripe.sandbox.errors import Doc
from integrations.stripe.sandbox.resources.payment_methods import EMPTY_ADDRESS
from integrations.stripe.sandbox.routing import operation, retrieves

KIND = "charge"

retrieves("/v1/charges/{charge}", KIND)


def created(ctx: Context, intent: Doc, method: Doc, decline: Decline | None, *, authenticated: bool) -> Doc:
    """The charge of one attempt at `intent` with `method`: failed if there is a decline."""
    paid = decline is None
    charge = ctx.add(
        {
            "id": new_id("ch"),
            "object": KIND,
            "amount": intent["amount"],
            "amount_captured": intent["amount"] if paid else 0,
            "amount_refunded": 0,
            "application": None,
            "application_fee": None,
            "application_fee_amount": None,
            "balance_transaction": None,
            "billing_details": {
                **method["billing_details"],
                "address": method["billing_details"]["address"] or EMPTY_ADDRESS,
            },
            "calculated_statement_descriptor": "TALLYHOUSE",
            "captured": paid,
            "created": ctx.now,
            "currency": intent["currency"],
            "customer": intent["customer"],
            "description": intent["description"],
            "disputed": False,
            "failure_balance_transaction": None,
            "failure_code": decline.code if decline else None,
            "failure_message": decline.message if decline else None,
            "fraud_details": {},
            "livemode": ctx.account.livemode,
            "metadata": dict(intent["metadata"]),
            "on_behalf_of": None,
            "outcome": _outcome(decline),
            "paid": paid,
            "payment_intent": intent["id"],
            "payment_method": method["id"],
            "payment_method_details": {"card": _card(intent, method, authenticated), "type": "card"},
            "receipt_email": intent["receipt_email"],
            "receipt_number": None,
            "receipt_url": None,
            "refunded": False,
            "review": None,
            "shipping": None,
            "source_transfer": None,
            "statement_descriptor": None,
            "statement_descriptor_suffix": None,
            "status": "succeeded" if paid else "failed",
            "transfer_data": None,
            "transfer_group": None,
        }
    )
    events.emit(ctx, "charge.succeeded" if paid else "charge.failed", charge)
    return charge


def _outcome(decline: Decline | None) -> Doc:
    if decline is None:
        return {
            "advice_code": None, "network_advice_code": None, "network_decline_code": None,
            "network_status": "approved_by_network", "reason": None, "risk_level": "normal", "risk_score": 12,
            "seller_message": "Payment complete.", "type": "authorized",
        }  # fmt: skip
    return {
        "advice_code": decline.advice, "network_advice_code": None, "network_decline_code": None,
        "network_status": "declined_by_network", "reason": decline.decline_code, "risk_level": "normal",
        "risk_score": 12, "seller_message": "The bank did not authorise this payment.", "type": "issuer_declined",
    }  # fmt: skip


def _card(intent: Doc, method: Doc, authenticated: bool) -> Doc:
    card: dict[str, Any] = method["card"]
    return {
        "amount_authorized": intent["amount"],
        "authorization_code": None,
        "brand": card["brand"],
        "checks": dict(card["checks"]),
        "country": card["country"],
        "exp_month": card["exp_month"],
        "exp_year": card["exp_year"],
        "fingerprint": card["fingerprint"],
        "funding": card["funding"],
        "installments": None,
        "last4": card["last4"],
        "mandate": None,
        "network": card["brand"],
        "network_token": None,
        "network_transaction_id": None,
        "regulated_status": card["regulated_status"],
        "three_d_secure": {
            "authentication_flow": "challenge", "electronic_commerce_indicator": None,
            "exemption_indicator": None, "result": "authenticated", "result_reason": None, "transaction_id": None,
            "version": "2.2.0",
        } if authenticated else None,
        "wallet": None,
    }  # fmt: skip


@operation("GET /v1/charges", KIND, "created customer payment_intent")
def index(ctx: Context, params: Doc) -> Doc:
    filters = pagination.equals(params, "customer", "payment_intent")
    return pagination.page(ctx, params, KIND, "/v1/charges", filters)


@operation("GET /v1/charges/search", KIND, "query page")
def find(ctx: Context, params: Doc) -> Doc:
    return pagination.search_page(ctx, params, "/v1/charges/search", search.search(ctx, KIND, params.get("query", "")))
