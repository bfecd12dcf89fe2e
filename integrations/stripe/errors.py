"""The SDK's errors as ours: what may be retried, what was refused, what the customer has to do.

Messages are the provider's own, cut short and with anything that looks like a key removed.
"""

import re

import stripe

from billing.ports import (
    CardDeclined,
    IdempotencyMismatch,
    ProviderKeyRefused,
    ProviderNotFound,
    ProviderRejected,
    ProviderUnavailable,
)

_SECRET = re.compile(r"\b(sk|rk|pk|whsec|seti|pi|cs)_[A-Za-z0-9_*]*(_secret_|live_|test_|\*)[A-Za-z0-9_*]*")
_LONGEST = 500


def translate(error: stripe.StripeError) -> ProviderUnavailable | ProviderRejected:
    """Our error for one of the SDK's. A 409 is a twin of the same call that still runs, so it is retryable."""
    detail = without_secrets(error.user_message or "no message")
    request_id = error.request_id
    code = _code(error)
    if isinstance(error, stripe.CardError):
        return CardDeclined(
            "authentication_required" if code == "authentication_required" else "card_declined",
            detail,
            provider_code=code,
            decline_code=getattr(error.error, "decline_code", None),
            payment_id=_payment_id(error),
            request_id=request_id,
        )
    if isinstance(error, stripe.IdempotencyError):
        return IdempotencyMismatch("provider_idempotency_mismatch", detail, provider_code=code, request_id=request_id)
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return ProviderKeyRefused(
            "provider_key_refused",
            detail,
            provider_code=code,
            request_id=request_id,
            hint="Check the connection's secret key and its permissions.",
        )
    if isinstance(error, stripe.RateLimitError):
        return ProviderUnavailable("provider_rate_limited", detail, request_id=request_id, retry_after_seconds=5)
    if isinstance(error, stripe.APIConnectionError):
        return ProviderUnavailable(
            "provider_unreachable", "no answer from the payment provider", retry_after_seconds=10
        )
    if error.http_status in {400, 402, 404}:
        kind = ProviderNotFound if error.http_status == 404 or code == "resource_missing" else ProviderRejected
        name = "provider_object_missing" if kind is ProviderNotFound else "provider_rejected"
        param = getattr(error, "param", None)
        return kind(name, detail, provider_code=code, request_id=request_id, provider_param=param)
    return ProviderUnavailable(
        "provider_busy" if error.http_status == 409 else "provider_failed",
        detail,
        request_id=request_id,
        replayed=_header(error, "idempotent-replayed") == "true",
        retry_after_seconds=10,
    )


def without_secrets(text: str) -> str:
    """`text` with keys and client secrets blanked, at most 500 characters.

    >>> without_secrets("Invalid API Key provided: sk_test_4eC39HqLyjWDarjtT1")
    'Invalid API Key provided: sk_…'
    """
    return _SECRET.sub(r"\1_…", text)[:_LONGEST]


def _code(error: stripe.StripeError) -> str | None:
    code = error.code or getattr(error.error, "code", None) or getattr(error.error, "type", None)
    return str(code) if code else None


def _payment_id(error: stripe.CardError) -> str | None:
    payment = getattr(error.error, "payment_intent", None)
    return str(payment.id) if payment is not None else None


def _header(error: stripe.StripeError, name: str) -> str | None:
    headers = {key.lower(): value for key, value in (error.headers or {}).items()}
    return headers.get(name)
