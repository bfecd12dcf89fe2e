"""`billing.ports.PaymentGateway` over the official Stripe client: the only place that calls Stripe.

Each POST carries the caller's idempotency key; how a call is made and repeated is in `calls`. Plans, prices and
subscriptions are in `catalog_gateway`, refunds and credit notes in `refund_gateway`.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, cast
from urllib.parse import quote

import stripe

from billing.ports import (
    OUR_CUSTOMER,
    OUR_INVOICE,
    OUR_SESSION,
    InvoicePayment,
    NewCardSession,
    NewCoupon,
    NewCustomer,
    NewInvoice,
    NewInvoiceLine,
    NewPaymentSession,
    PaymentEntry,
    ProviderAccount,
    ProviderCustomer,
    ProviderDispute,
    ProviderEvent,
    ProviderInvoice,
    ProviderInvoiceLine,
    ProviderKeyRefused,
    ProviderNotFound,
    ProviderPayment,
    ProviderPaymentMethod,
    ProviderRejected,
    ProviderSession,
    ProviderSetup,
    WebhookEndpoint,
)
from integrations.stripe import mapping
from integrations.stripe.calls import API_VERSION, PAGE
from integrations.stripe.catalog_gateway import CatalogCalls
from integrations.stripe.refund_gateway import RefundCalls

_KEPT_COUPONS = 10_000


class StripeGateway(CatalogCalls, RefundCalls):
    """Stripe through one secret key, as `Calls` takes it. Safe to share between threads."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._coupons: set[str] = set()

    def account(self) -> ProviderAccount:
        body = self._one(self._api.accounts.retrieve_current)
        return ProviderAccount(body["id"], self._livemode)

    def unreadable(self) -> list[str]:
        """One object of each kind is asked for; of payment methods only a customer's are listed, so not of these."""
        api = self._api
        kinds: dict[str, Callable[[Any], stripe.StripeObject]] = {
            "Charges and Refunds": api.charges.list,
            "Checkout Sessions": api.checkout.sessions.list,
            "Coupons": api.coupons.list,
            "Credit notes": api.credit_notes.list,
            "Customers": api.customers.list,
            "Disputes": api.disputes.list,
            "Events": api.events.list,
            "Invoices": api.invoices.list,
            "PaymentIntents": api.payment_intents.list,
            "Prices": api.prices.list,
            "Products": api.products.list,
            "SetupIntents": api.setup_intents.list,
            "Subscriptions": api.subscriptions.list,
            "Tax Rates": api.tax_rates.list,
        }
        return [name for name, listed in kinds.items() if not self._may(partial(listed, {"limit": 1}))]

    def webhook_endpoints(self) -> list[WebhookEndpoint]:
        params = cast("Any", {"limit": PAGE})
        bodies = self._all(lambda: self._api.webhook_endpoints.list(params))
        return [mapping.webhook_endpoint(body, API_VERSION) for body in bodies]

    def create_customer(self, customer: NewCustomer, key: str) -> ProviderCustomer:
        params = cast("Any", mapping.customer_params(customer))
        return mapping.customer(self._one(lambda: self._api.customers.create(params, {"idempotency_key": key})))

    def update_customer(self, customer_id: str, customer: NewCustomer, key: str) -> ProviderCustomer:
        params = cast("Any", mapping.customer_update_params(customer))
        return mapping.customer(
            self._one(lambda: self._api.customers.update(customer_id, params, {"idempotency_key": key}))
        )

    def get_customer(self, customer_id: str) -> ProviderCustomer:
        return mapping.customer(self._one(lambda: self._api.customers.retrieve(customer_id)))

    def find_customer(self, our_id: str, email: str | None, since: datetime) -> ProviderCustomer | None:
        """With an email Stripe filters by it; without one, everything created since then is looked through."""
        params: dict[str, Any] = {"limit": PAGE}
        if email:
            params["email"] = email
        else:
            params["created"] = {"gte": int(since.timestamp())}
        found = self._carrying(OUR_CUSTOMER, our_id, lambda: self._api.customers.list(cast("Any", params)))
        return None if found is None else mapping.customer(found)

    def customers_with_email(self, email: str) -> list[ProviderCustomer]:
        params = cast("Any", {"email": email, "limit": PAGE})
        return [mapping.customer(body) for body in self._all(lambda: self._api.customers.list(params))]

    def list_customers(self, since: datetime) -> list[ProviderCustomer]:
        params = cast("Any", {"created": {"gte": int(since.timestamp())}, "limit": PAGE})
        return [mapping.customer(body) for body in self._all(lambda: self._api.customers.list(params))]

    def set_default_payment_method(self, customer_id: str, payment_method_id: str, key: str) -> ProviderCustomer:
        params = cast("Any", {"invoice_settings": {"default_payment_method": payment_method_id}})
        return mapping.customer(
            self._one(lambda: self._api.customers.update(customer_id, params, {"idempotency_key": key}))
        )

    def get_payment_method(self, payment_method_id: str) -> ProviderPaymentMethod:
        return mapping.payment_method(self._one(lambda: self._api.payment_methods.retrieve(payment_method_id)))

    def list_payment_methods(self, customer_id: str) -> list[ProviderPaymentMethod]:
        params = cast("Any", {"customer": customer_id, "limit": PAGE})
        return [mapping.payment_method(body) for body in self._all(lambda: self._api.payment_methods.list(params))]

    def detach_payment_method(self, payment_method_id: str, key: str) -> None:
        self._one(lambda: self._api.payment_methods.detach(payment_method_id, None, {"idempotency_key": key}))

    def check_amount(self, total: Decimal, currency: str) -> str | None:
        return mapping.not_collectable(total, currency)

    def ensure_coupon(self, coupon: NewCoupon, key: str) -> None:
        """Its id says all of it, so one that is there is the same one, whoever made it.

        Ids that were seen are not sent again. Where somebody has deleted one since, `create_invoice` is refused, and
        the next try makes it anew under another key.
        """
        if coupon.id in self._coupons:
            return
        try:
            self._write("/v1/coupons", mapping.coupon_params(coupon), key)
        except ProviderRejected as error:
            if error.provider_code != "resource_already_exists":
                raise
        if len(self._coupons) >= _KEPT_COUPONS:
            self._coupons.clear()
        self._coupons.add(coupon.id)

    def create_invoice(self, invoice: NewInvoice, key: str) -> ProviderInvoice:
        try:
            return mapping.invoice(self._write("/v1/invoices", mapping.invoice_params(invoice), key))
        except ProviderRejected:
            self._coupons.difference_update(invoice.coupon_ids)
            raise

    def add_lines(self, invoice_id: str, currency: str, lines: Sequence[NewInvoiceLine], key: str) -> ProviderInvoice:
        params = {"lines": mapping.line_params(currency, lines)}
        return mapping.invoice_with_lines(self._write(f"{_path(invoice_id)}/add_lines", params, key))

    def get_invoice(self, invoice_id: str) -> ProviderInvoice:
        body = self._read(_path(invoice_id), {"expand": ["payments"]})
        if body.get("deleted"):
            raise ProviderNotFound("provider_object_missing", "the draft was deleted")
        return mapping.invoice_with_lines(body)

    def get_invoice_lines(self, invoice_id: str, currency: str) -> list[ProviderInvoiceLine]:
        params = cast("Any", {"limit": PAGE, "expand": ["data.taxes.tax_rate_details.tax_rate"]})
        bodies = self._all(lambda: self._api.invoices.line_items.list(invoice_id, params))
        return [mapping.invoice_line(body, currency) for body in bodies]

    def list_invoices(self, since: datetime) -> list[ProviderInvoice]:
        params = cast("Any", {"created": {"gte": int(since.timestamp())}, "limit": PAGE})
        return [mapping.invoice(body) for body in self._all(lambda: self._api.invoices.list(params))]

    def find_invoice(self, customer_id: str, our_id: str) -> ProviderInvoice | None:
        params = cast("Any", {"customer": customer_id, "limit": PAGE})
        found = self._carrying(OUR_INVOICE, our_id, lambda: self._api.invoices.list(params))
        return None if found is None else mapping.invoice(found)

    def delete_draft(self, invoice_id: str) -> None:
        self._one(lambda: self._api.invoices.delete(invoice_id))

    def finalize_invoice(self, invoice_id: str, auto_advance: bool, key: str) -> ProviderInvoice:
        return self._moved(f"{_path(invoice_id)}/finalize", {"auto_advance": auto_advance}, key)

    def set_auto_advance(self, invoice_id: str, auto_advance: bool, key: str) -> ProviderInvoice:
        return self._moved(_path(invoice_id), {"auto_advance": auto_advance}, key)

    def send_invoice(self, invoice_id: str, key: str) -> ProviderInvoice:
        return self._moved(f"{_path(invoice_id)}/send", {}, key)

    def void_invoice(self, invoice_id: str, key: str) -> ProviderInvoice:
        return mapping.invoice(
            self._one(lambda: self._api.invoices.void_invoice(invoice_id, None, {"idempotency_key": key}))
        )

    def mark_uncollectible(self, invoice_id: str, key: str) -> ProviderInvoice:
        return mapping.invoice(
            self._one(lambda: self._api.invoices.mark_uncollectible(invoice_id, None, {"idempotency_key": key}))
        )

    def pay_invoice(self, invoice_id: str, key: str) -> ProviderInvoice:
        params = cast("Any", {"off_session": True, "expand": ["payments"]})
        return mapping.invoice(self._one(lambda: self._api.invoices.pay(invoice_id, params, {"idempotency_key": key})))

    def pay_out_of_band(self, invoice_id: str, key: str) -> ProviderInvoice:
        params = cast("Any", {"paid_out_of_band": True, "expand": ["payments"]})
        return mapping.invoice(self._one(lambda: self._api.invoices.pay(invoice_id, params, {"idempotency_key": key})))

    def attach_payment(self, invoice_id: str, payment_id: str, key: str) -> ProviderInvoice:
        params = cast("Any", {"payment_intent": payment_id, "expand": ["payments"]})
        return mapping.invoice(
            self._one(lambda: self._api.invoices.attach_payment(invoice_id, params, {"idempotency_key": key}))
        )

    def invoice_payments(self, invoice_id: str) -> list[InvoicePayment]:
        # Four levels is as deep as Stripe expands.
        params = cast(
            "Any",
            {"invoice": invoice_id, "limit": PAGE, "expand": ["data.payment.payment_intent.latest_charge"]},
        )
        return [mapping.invoice_payment(body) for body in self._all(lambda: self._api.invoice_payments.list(params))]

    def invoice_of_payment(self, payment_id: str) -> str | None:
        params = cast("Any", {"payment": {"type": "payment_intent", "payment_intent": payment_id}, "limit": 1})
        bodies = self._all(lambda: self._api.invoice_payments.list(params))
        return mapping.reference(bodies[0]["invoice"]) if bodies else None

    def create_card_session(self, session: NewCardSession, key: str) -> ProviderSession:
        return self._create_session(mapping.card_session_params(session), key)

    def create_payment_session(self, session: NewPaymentSession, key: str) -> ProviderSession:
        return self._create_session(mapping.payment_session_params(session), key)

    def get_session(self, session_id: str) -> ProviderSession:
        return mapping.session(self._one(lambda: self._api.checkout.sessions.retrieve(session_id)))

    def find_session(self, customer_id: str, our_id: str) -> ProviderSession | None:
        params = cast("Any", {"customer": customer_id, "limit": PAGE})
        found = self._carrying(OUR_SESSION, our_id, lambda: self._api.checkout.sessions.list(params))
        return None if found is None else mapping.session(found)

    def expire_session(self, session_id: str, key: str) -> ProviderSession:
        return mapping.session(
            self._one(lambda: self._api.checkout.sessions.expire(session_id, None, {"idempotency_key": key}))
        )

    def get_setup(self, setup_intent_id: str) -> ProviderSetup:
        return mapping.setup(self._one(lambda: self._api.setup_intents.retrieve(setup_intent_id)))

    def get_payment(self, payment_id: str) -> ProviderPayment:
        return mapping.payment(
            self._one(lambda: self._api.payment_intents.retrieve(payment_id, {"expand": ["latest_charge"]}))
        )

    def payment_attempts(self, payment_id: str) -> list[PaymentEntry]:
        params = cast("Any", {"payment_intent": payment_id, "limit": PAGE})
        return mapping.oldest_first(mapping.attempt, self._all(lambda: self._api.charges.list(params)))

    def payment_refunds(self, payment_id: str) -> list[PaymentEntry]:
        params = cast("Any", {"payment_intent": payment_id, "limit": PAGE})
        return mapping.oldest_first(mapping.refund, self._all(lambda: self._api.refunds.list(params)))

    def payment_disputes(self, payment_id: str) -> list[PaymentEntry]:
        params = cast("Any", {"payment_intent": payment_id, "limit": PAGE})
        return mapping.oldest_first(mapping.dispute, self._all(lambda: self._api.disputes.list(params)))

    def list_disputes(self, since: datetime) -> list[ProviderDispute]:
        params = cast("Any", {"created": {"gte": int(since.timestamp())}, "limit": PAGE})
        return [mapping.listed_dispute(body) for body in self._all(lambda: self._api.disputes.list(params))]

    def list_events(self, since: datetime) -> list[ProviderEvent]:
        params = cast("Any", {"created": {"gte": int(since.timestamp())}, "limit": PAGE})
        return [mapping.event(body) for body in self._all(lambda: self._api.events.list(params))]

    def _may(self, call: Callable[[], stripe.StripeObject]) -> bool:
        try:
            self._one(call)
        except ProviderKeyRefused:
            return False
        return True

    def _moved(self, path: str, params: dict[str, Any], key: str) -> ProviderInvoice:
        expanded = {**params, "expand": ["payments.data.payment.payment_intent"]}
        return mapping.invoice_with_payments(self._write(path, expanded, key))

    def _create_session(self, params: dict[str, Any], key: str) -> ProviderSession:
        typed = cast("Any", params)
        return mapping.session(self._one(lambda: self._api.checkout.sessions.create(typed, {"idempotency_key": key})))


def _path(invoice_id: str) -> str:
    return f"/v1/invoices/{quote(invoice_id, safe='')}"
