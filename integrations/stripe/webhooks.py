"""Verifies a webhook delivery and reads the event out of it. Storing it and acting on it is left to the steps."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import stripe

from billing.errors import InvalidInput
from billing.ports import WebhookEvent, WebhookRefused

TOLERANCE_SECONDS = 300


def verify(raw: bytes, header: str | None, secrets: Sequence[str], now: datetime) -> WebhookEvent:
    """The event in `raw`, if any of `secrets` signed exactly these bytes within five minutes of `now`.

    The SDK checks the signature. The age is checked here: the SDK would use the machine's clock and accept
    timestamps from the future.
    Raises WebhookRefused (`webhook_secret_missing`, `webhook_signature_missing`, `webhook_signature_invalid`,
    `webhook_too_old`) and InvalidInput `webhook_not_an_event` for a signed body that is no event.
    """
    usable = [secret for secret in secrets if secret.strip()]
    if not usable:
        raise WebhookRefused(
            "webhook_secret_missing",
            "the connection has no webhook secret",
            hint="Store the endpoint's signing secret (whsec_…) in the connection.",
        )
    if not header:
        raise WebhookRefused("webhook_signature_missing", "the Stripe-Signature header is missing")
    if not any(_signed_with(raw, header, secret) for secret in usable):
        raise WebhookRefused(
            "webhook_signature_invalid",
            "the signature does not match",
            hint="Check that the connection holds this endpoint's signing secret.",
        )
    if abs(now.timestamp() - _timestamp(header)) > TOLERANCE_SECONDS:
        raise WebhookRefused("webhook_too_old", f"signed more than {TOLERANCE_SECONDS} seconds away from now")
    return _event(raw)


def _event(raw: bytes) -> WebhookEvent:
    try:
        body = json.loads(raw, parse_float=Decimal)
        return WebhookEvent(
            id=_text(body["id"]),
            type=_text(body["type"]),
            created=datetime.fromtimestamp(int(body["created"]), UTC),
            livemode=bool(body["livemode"]),
            api_version=body.get("api_version"),
            object=_mapping(body["data"]["object"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidInput("webhook_not_an_event", "the body is not a Stripe event") from error


def _signed_with(raw: bytes, header: str, secret: str) -> bool:
    try:
        return bool(stripe.WebhookSignature.verify_header(raw, header, secret))
    except (stripe.SignatureVerificationError, UnicodeDecodeError, TypeError):
        return False


def _timestamp(header: str) -> int:
    """The signed timestamp; the header has been verified, so there is one. The first counts, as for the SDK."""
    return int(next(part.split("=")[1] for part in header.split(",") if part.startswith("t=")))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("not a text")
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value
