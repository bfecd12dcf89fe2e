"""What a person does at Stripe: register a webhook endpoint, type a card into the checkout page, look at invoices.

It speaks Stripe's own HTTP API and pages, so that it works on the sandbox as on a test account.
"""

import time
from typing import Any

import httpx

from cli.demo.client import DemoFailed

__all__ = ["GOOD_CARD", "LATER_DECLINED_CARD", "StripeSide"]

GOOD_CARD = "4242424242424242"
LATER_DECLINED_CARD = "4000000000000341"
"""Can be saved; every charge of it is declined."""

WEBHOOK_EVENTS = (
    "checkout.session.completed",
    "checkout.session.expired",
    "setup_intent.succeeded",
    "setup_intent.setup_failed",
    "payment_method.detached",
    "payment_method.automatically_updated",
    "customer.deleted",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "invoice.voided",
    "invoice.marked_uncollectible",
    "invoice_payment.paid",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "charge.refunded",
    "refund.failed",
)
"""What to switch on at Stripe's endpoint: enough to follow every state, without Stripe's news about our own calls."""


class StripeSide:
    """One Stripe account, seen from its owner's and its customers' side."""

    def __init__(self, base_url: str, secret_key: str) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=30.0, trust_env=False)
        self._auth = {"Authorization": f"Bearer {secret_key}"}

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def register_webhook(self, url: str) -> str:
        """Create an endpoint for the events that matter; returns its signing secret."""
        events = {f"enabled_events[{number}]": name for number, name in enumerate(WEBHOOK_EVENTS)}
        answer = self._http.post("/v1/webhook_endpoints", data={"url": url, **events}, headers=self._auth)
        if not answer.is_success:
            raise DemoFailed(f"webhook endpoint: {answer.text[:500]}")
        return str(answer.json()["secret"])

    def save_card(self, checkout_url: str, number: str) -> None:
        """Fill in the checkout page's form as the customer would."""
        answer = self._http.post(
            checkout_url,
            data={"card_number": number, "exp_month": "12", "exp_year": "2034", "cvc": "123"},
            follow_redirects=False,
        )
        if answer.status_code != httpx.codes.SEE_OTHER:
            raise DemoFailed(f"the checkout page refused the card: {answer.status_code}")

    def await_default_cards(self, wanted: int, limit_seconds: float) -> None:
        """Wait until `wanted` customers have a default card: the webhook's handler sets it."""
        deadline = time.monotonic() + limit_seconds
        while True:
            have = sum(1 for c in self._all("customers") if c["invoice_settings"]["default_payment_method"])
            if have >= wanted:
                return
            if time.monotonic() > deadline:
                raise DemoFailed(f"{have} of {wanted} customers have a default card after {limit_seconds:.0f} s")
            time.sleep(0.2)

    def invoices(self) -> list[dict[str, Any]]:
        """All invoices of the account."""
        return self._all("invoices")

    def _all(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after: dict[str, str] = {}
        while True:
            answer = self._http.get(f"/v1/{kind}", params={"limit": "100", **after}, headers=self._auth)
            if not answer.is_success:
                raise DemoFailed(f"Stripe's {kind}: {answer.text[:500]}")
            page = answer.json()
            found += page["data"]
            if not page["has_more"]:
                return found
            after = {"starting_after": page["data"][-1]["id"]}
