"""Our values as Stripe parameters, and Stripe objects as our values. Pure; every amount passes through here.

Objects arrive as plain dicts in the shape of the pinned API version (2026-10-28.endive).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing.errors import InvalidInput
from billing.money import exponent, format_decimal
from billing.ports import (
    OUR_LINE,
    CardDetails,
    InvoicePayment,
    LineTax,
    NewCardSession,
    NewCoupon,
    NewCustomer,
    NewInvoice,
    NewInvoiceLine,
    NewPaymentSession,
    PaymentEntry,
    ProviderCustomer,
    ProviderDispute,
    ProviderEvent,
    ProviderInvoice,
    ProviderInvoiceLine,
    ProviderInvoiceStatus,
    ProviderLineTax,
    ProviderPayment,
    ProviderPaymentMethod,
    ProviderPaymentStatus,
    ProviderSession,
    ProviderSetup,
    TaxRate,
    WebhookEndpoint,
)
from billing.refund_port import OUR_REFUND

Json = Mapping[str, Any]

# Where Stripe's minor unit is not ISO 4217's. https://docs.stripe.com/currencies#special-cases
_STRIPE_EXPONENT = {"ISK": 2, "MGA": 0}
# Stripe's own lists disagree on the factor for UGX, and a wrong guess is wrong by 100: no amounts until it is settled.
_UNSETTLED = frozenset({"UGX"})
# The smallest charge, in the main unit. https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
_MINIMUM = {
    "USD": "0.50", "EUR": "0.50", "CAD": "0.50", "AUD": "0.50", "CHF": "0.50", "BRL": "0.50", "SGD": "0.50",
    "NZD": "0.50", "INR": "0.50", "GBP": "0.30", "JPY": "50", "DKK": "2.50", "NOK": "3.00", "SEK": "3.00",
    "PLN": "2.00", "CZK": "15.00", "HUF": "175", "MXN": "10", "AED": "2.00", "RON": "2.00", "MYR": "2.00",
    "HKD": "4.00", "THB": "10",
}  # fmt: skip
_LARGEST_MINOR = 99_999_999
LONGEST_DESCRIPTION = 500


def stripe_exponent(currency: str) -> int:
    """How many decimals Stripe's integers have: `119` is 1.19 USD, 119 JPY, 0.119 KWD."""
    return _STRIPE_EXPONENT.get(currency.upper(), exponent(currency))


def is_settled(currency: str) -> bool:
    """Whether Stripe's factor for the currency is known."""
    return currency.upper() not in _UNSETTLED


def to_stripe_amount(amount: Decimal, currency: str) -> int:
    """The integer that Stripe wants, exactly; InvalidInput `amount_not_representable` when there is none.

    >>> to_stripe_amount(Decimal("118.50"), "usd"), to_stripe_amount(Decimal("5"), "ISK")
    (11850, 500)
    """
    sign, digits, power = amount.as_tuple()
    if not is_settled(currency) or not isinstance(power, int):
        raise _not_representable(amount, currency)
    decimals = min(stripe_exponent(currency), exponent(currency))
    shift = power + decimals
    whole = int("".join(map(str, digits)))
    factor: int = 10 ** abs(shift)
    minor, rest = divmod(whole, factor) if shift < 0 else (whole * factor, 0)
    if rest:
        raise _not_representable(amount, currency)
    padding: int = 10 ** (stripe_exponent(currency) - decimals)
    return (-minor if sign else minor) * padding


def from_stripe_amount(minor: int, currency: str) -> Decimal:
    """The amount in the main unit, with the currency's own decimals."""
    return Decimal(f"{minor}E-{stripe_exponent(currency)}")


def not_collectable(total: Decimal, currency: str) -> str | None:
    """Why Stripe would not collect this total as it is, or None.

    Under the minimum Stripe marks the invoice paid and carries the amount on the customer's balance; three-decimal
    currencies must end in 0; more than eight digits are refused.
    """
    try:
        minor = to_stripe_amount(total, currency)
    except InvalidInput:
        return "amount_not_representable"
    if minor < 0:
        return "negative_total"
    if 0 < total < Decimal(_MINIMUM.get(currency.upper(), "0")):
        return "below_minimum"
    if minor > _LARGEST_MINOR:
        return "above_maximum"
    if stripe_exponent(currency) == 3 and minor % 10:
        return "amount_not_chargeable"
    return None


def customer_params(customer: NewCustomer) -> dict[str, Any]:
    params: dict[str, Any] = {"name": customer.name, "metadata": dict(customer.metadata)}
    return params if customer.email is None else {**params, "email": customer.email}


def customer_update_params(customer: NewCustomer) -> dict[str, Any]:
    """As for creating, but an email that is gone is unset, which Stripe does for an empty string."""
    return {"email": "", **customer_params(customer)}


def invoice_params(invoice: NewInvoice) -> dict[str, Any]:
    params: dict[str, Any] = {
        "customer": invoice.customer_id,
        "currency": invoice.currency.lower(),
        "auto_advance": False,
        "collection_method": invoice.collection_method,
        "pending_invoice_items_behavior": "exclude",
        "automatic_tax": {"enabled": False},
        # Sent when there are none, too: else an invoice inherits the discount that its customer has at Stripe.
        "discounts": [{"coupon": coupon_id} for coupon_id in invoice.coupon_ids] or "",
        "metadata": dict(invoice.metadata),
    }
    if invoice.days_until_due is not None:
        params["days_until_due"] = invoice.days_until_due
    if invoice.number is not None:
        params["custom_fields"] = [{"name": "Invoice", "value": invoice.number}]
    return params


def line_params(currency: str, lines: Sequence[NewInvoiceLine]) -> list[dict[str, Any]]:
    """Taxes are sent as counted here, never as rates that Stripe would count and round itself."""
    return [
        {
            "amount": to_stripe_amount(line.amount, currency),
            "description": line.description[:LONGEST_DESCRIPTION],
            "period": {"start": int(line.period.start.timestamp()), "end": int(line.period.end.timestamp())},
            "discountable": line.discountable,
            "metadata": {OUR_LINE: line.line_id},
            **({"tax_amounts": [_tax_amount(tax, currency) for tax in line.taxes]} if line.taxes else {}),
        }
        for line in lines
    ]


def coupon_params(coupon: NewCoupon) -> dict[str, Any]:
    return {
        "id": coupon.id,
        "amount_off": to_stripe_amount(coupon.amount, coupon.currency),
        "currency": coupon.currency.lower(),
        "duration": "once",
        "name": coupon.name,
    }


def card_session_params(session: NewCardSession) -> dict[str, Any]:
    return {
        "mode": "setup",
        "customer": session.customer_id,
        "allowed_payment_method_types": ["card"],
        "success_url": session.success_url,
        "cancel_url": session.cancel_url,
        "metadata": dict(session.metadata),
        "setup_intent_data": {"metadata": dict(session.metadata)},
    }


def payment_session_params(session: NewPaymentSession) -> dict[str, Any]:
    price = {
        "currency": session.currency.lower(),
        "unit_amount": to_stripe_amount(session.amount, session.currency),
        "product_data": {"name": session.description},
    }
    intent: dict[str, Any] = {"metadata": dict(session.metadata)}
    if session.save_card:
        intent["setup_future_usage"] = "off_session"
    return {
        "mode": "payment",
        "customer": session.customer_id,
        # Cards settle at once; with slower methods the invoice could be collected a second time meanwhile.
        "allowed_payment_method_types": ["card"],
        "line_items": [{"price_data": price, "quantity": 1}],
        "payment_intent_data": intent,
        "success_url": session.success_url,
        "cancel_url": session.cancel_url,
        "metadata": dict(session.metadata),
    }


def customer(body: Json) -> ProviderCustomer:
    if body.get("deleted"):
        return ProviderCustomer(body["id"], deleted=True)
    return ProviderCustomer(
        id=body["id"],
        deleted=False,
        name=body.get("name"),
        email=body.get("email"),
        metadata=body.get("metadata") or {},
        default_payment_method_id=reference((body.get("invoice_settings") or {}).get("default_payment_method")),
    )


def invoice(body: Json) -> ProviderInvoice:
    currency = body["currency"].upper()

    def amount(name: str) -> Decimal:
        return from_stripe_amount(body[name], currency)

    return ProviderInvoice(
        id=body["id"],
        status=ProviderInvoiceStatus(body["status"]),
        customer_id=reference(body["customer"]) or "",
        currency=currency,
        subtotal=amount("subtotal"),
        total=amount("total"),
        amount_due=amount("amount_due"),
        amount_paid=amount("amount_paid"),
        amount_paid_elsewhere=amount("amount_paid_off_stripe"),
        amount_remaining=amount("amount_remaining"),
        starting_balance=amount("starting_balance"),
        auto_advance=body["auto_advance"],
        hosted_url=body.get("hosted_invoice_url"),
        pdf_url=body.get("invoice_pdf"),
        paid_at=instant(body["status_transitions"].get("paid_at")),
        attempts=body["attempt_count"],
        next_attempt_at=instant(body.get("next_payment_attempt")),
        payment_id=_default_payment_id(body.get("payments")),
        due_at=instant(body.get("due_date")),
        credited=amount("pre_payment_credit_notes_amount"),
        metadata=body.get("metadata") or {},
    )


def invoice_with_lines(body: Json) -> ProviderInvoice:
    """An answer holds the first ten lines; where there are more, none are told."""
    found, there = invoice(body), body["lines"]
    if there["has_more"]:
        return found
    return replace(found, lines=tuple(invoice_line(line, found.currency) for line in there["data"]))


def invoice_with_payments(body: Json) -> ProviderInvoice:
    """`payments` was expanded to the PaymentIntents, not to their charges."""
    found, there = invoice(body), body["payments"]
    if there["has_more"]:
        return found
    return replace(found, payments=tuple(map(invoice_payment, there["data"])))


def invoice_line(body: Json, currency: str) -> ProviderInvoiceLine:
    return ProviderInvoiceLine(
        id=body["id"],
        line_id=(body.get("metadata") or {}).get(OUR_LINE),
        amount=from_stripe_amount(body["amount"], currency),
        taxes=tuple(_line_tax(tax, currency) for tax in body.get("taxes") or ()),
    )


def invoice_payment(body: Json) -> InvoicePayment:
    paid = body.get("amount_paid")
    intent = body["payment"].get("payment_intent")
    return InvoicePayment(
        id=body["id"],
        invoice_id=reference(body["invoice"]) or "",
        status=body["status"],
        amount_paid=None if paid is None else from_stripe_amount(paid, body["currency"]),
        is_default=body["is_default"],
        payment=payment(intent) if isinstance(intent, Mapping) else None,
    )


def payment(body: Json) -> ProviderPayment:
    """A PaymentIntent; card and refunds are known only when `latest_charge` was expanded."""
    latest = body.get("latest_charge")
    charge: Json = latest if isinstance(latest, Mapping) else {}
    failure = body.get("last_payment_error") or {}
    currency = body["currency"]
    return ProviderPayment(
        id=body["id"],
        status=ProviderPaymentStatus(body["status"]),
        currency=currency.upper(),
        amount=from_stripe_amount(body["amount"], currency),
        amount_received=from_stripe_amount(body.get("amount_received") or 0, currency),
        amount_refunded=from_stripe_amount(charge.get("amount_refunded") or 0, currency),
        payment_method_id=reference(body.get("payment_method")),
        card=card(charge.get("payment_method_details")),
        failure_code=failure.get("decline_code") or failure.get("code"),
        failure_message=failure.get("message"),
        metadata=body.get("metadata") or {},
        charged_at=instant(charge.get("created")) if charge.get("paid") else None,
    )


def payment_method(body: Json) -> ProviderPaymentMethod:
    details = card(body) or CardDetails("card", None, None)
    shown = body.get(body["type"]) or {}
    return ProviderPaymentMethod(
        id=body["id"],
        customer_id=reference(body.get("customer")),
        card=details,
        created_at=_instant(body["created"]),
        exp_month=shown.get("exp_month"),
        exp_year=shown.get("exp_year"),
    )


def card(details: Json | None) -> CardDetails | None:
    """The method that was used: brand and last four digits where it was a card, the type alone otherwise."""
    if not details:
        return None
    kind = details["type"]
    shown = details.get(kind) or {}
    return CardDetails(kind, shown.get("brand"), shown.get("last4"))


def attempt(body: Json) -> PaymentEntry:
    """A charge: one try of a payment, with the card that was used."""
    outcome = body.get("outcome") or {}
    used = card(body.get("payment_method_details")) or CardDetails("card", None, None)
    return _entry(
        body,
        reason=None if body["status"] == "succeeded" else outcome.get("reason") or body.get("failure_code"),
        detail={"payment_method": used.payment_method, "brand": used.brand, "last4": used.last4},
    )


def refund(body: Json) -> PaymentEntry:
    ours = (body.get("metadata") or {}).get(OUR_REFUND)
    detail = None if ours is None else {OUR_REFUND: ours}
    return _entry(body, reason=body.get("failure_reason") or body.get("reason"), detail=detail)


def dispute(body: Json) -> PaymentEntry:
    return _entry(body, reason=body.get("reason"))


def listed_dispute(body: Json) -> ProviderDispute:
    return ProviderDispute(
        id=body["id"],
        payment_id=reference(body.get("payment_intent")),
        status=body["status"],
        currency=body["currency"].upper(),
        amount=from_stripe_amount(body["amount"], body["currency"]),
    )


def oldest_first(read: Callable[[Json], PaymentEntry], bodies: Iterable[Json]) -> list[PaymentEntry]:
    """The entries that Stripe lists newest first, and within one second in no order, in an order that stays."""
    return sorted(map(read, reversed(list(bodies))), key=lambda entry: entry.at)


def event(body: Json) -> ProviderEvent:
    # Exactly as numbers were read: the SDK makes Decimals of some.
    payload = json.dumps(body, default=lambda value: format(value, "f"))
    return ProviderEvent(body["id"], body["type"], _instant(body["created"]), payload)


def _entry(body: Json, reason: str | None, detail: Mapping[str, str | None] | None = None) -> PaymentEntry:
    return PaymentEntry(
        id=body["id"],
        amount=from_stripe_amount(body["amount"], body["currency"]),
        status=body["status"],
        reason=reason,
        detail=detail or {},
        at=_instant(body["created"]),
    )


def session(body: Json) -> ProviderSession:
    return ProviderSession(
        id=body["id"],
        mode=body["mode"],
        status=body.get("status") or "open",
        paid=body["payment_status"] == "paid",
        url=body.get("url"),
        setup_intent_id=reference(body.get("setup_intent")),
        payment_id=reference(body.get("payment_intent")),
        metadata=body.get("metadata") or {},
        created_at=_instant(body["created"]),
        expires_at=_instant(body["expires_at"]),
    )


def setup(body: Json) -> ProviderSetup:
    return ProviderSetup(
        id=body["id"],
        status=body["status"],
        payment_method_id=reference(body.get("payment_method")),
        metadata=body.get("metadata") or {},
    )


def webhook_endpoint(body: Json, version: str) -> WebhookEndpoint:
    """Without a version of its own an endpoint has the account's, which cannot be read; it is taken as ours."""
    given = body.get("api_version")
    return WebhookEndpoint(
        url=body["url"],
        enabled=body["status"] == "enabled",
        events=frozenset(body["enabled_events"]),
        other_version=None if given in {None, version} else given,
    )


def reference(value: Any) -> str | None:
    """The id in a field that holds an id, the expanded object, or nothing."""
    if isinstance(value, Mapping):
        return str(value["id"])
    return value if value is None else str(value)


def instant(seconds: int | None) -> datetime | None:
    return None if seconds is None else _instant(seconds)


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _tax_amount(tax: LineTax, currency: str) -> dict[str, Any]:
    return {
        "amount": to_stripe_amount(tax.amount, currency),
        "taxable_amount": to_stripe_amount(tax.taxable, currency),
        "tax_rate_data": {
            "display_name": tax.rate.name,
            "percentage": format_decimal(tax.rate.percentage),
            "inclusive": tax.rate.inclusive,
        },
    }


def _line_tax(body: Json, currency: str) -> ProviderLineTax:
    found = (body.get("tax_rate_details") or {}).get("tax_rate")
    rate = None
    if isinstance(found, Mapping):
        rate = TaxRate(found["display_name"], Decimal(str(found["percentage"])), found["inclusive"])
    return ProviderLineTax(reference(found) or "", rate, from_stripe_amount(body["amount"], currency))


def _default_payment_id(payments: Json | None) -> str | None:
    for item in (payments or {}).get("data", []):
        if item["is_default"]:
            return reference(item["payment"].get("payment_intent"))
    return None


def _not_representable(amount: Decimal, currency: str) -> InvalidInput:
    return InvalidInput(
        "amount_not_representable",
        f"{amount:f} {currency.upper()} has no exact amount at the payment provider",
        hint="Collect this invoice outside the provider and record the payment.",
    )
