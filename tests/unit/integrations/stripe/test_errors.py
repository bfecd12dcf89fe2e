"""The SDK's errors as ours: which are worth a retry, which are not, and nothing secret in any of them."""

from collections.abc import Callable
from typing import Any, cast

import pytest
import stripe

from billing.ports import (
    CardDeclined,
    IdempotencyMismatch,
    ProviderKeyRefused,
    ProviderNotFound,
    ProviderRejected,
    ProviderUnavailable,
)
from integrations.stripe.errors import translate, without_secrets

# The SDK leaves these constructors untyped.
Make = Callable[..., stripe.StripeError]
connection_error = cast("Make", stripe.APIConnectionError)
invalid_request = cast("Make", stripe.InvalidRequestError)
card_error = cast("Make", stripe.CardError)
REPLAYED = {"idempotent-replayed": "true", "request-id": "req_1"}


def _body(**error: Any) -> dict[str, Any]:
    return {"error": {"message": "m", **error}}


CASES = [
    (connection_error("reset"), ProviderUnavailable, "provider_unreachable"),
    (stripe.APIError("oops", http_status=500), ProviderUnavailable, "provider_failed"),
    (stripe.APIError("<html>", http_status=503), ProviderUnavailable, "provider_failed"),
    (
        stripe.APIError("busy", http_status=409, json_body=_body(code="idempotency_key_in_use")),
        ProviderUnavailable,
        "provider_busy",
    ),
    (stripe.RateLimitError("slow down", http_status=429), ProviderUnavailable, "provider_rate_limited"),
    (
        stripe.IdempotencyError("other parameters", http_status=400, json_body=_body(type="idempotency_error")),
        IdempotencyMismatch,
        "provider_idempotency_mismatch",
    ),
    (stripe.AuthenticationError("who?", http_status=401), ProviderKeyRefused, "provider_key_refused"),
    (stripe.PermissionError("no", http_status=403), ProviderKeyRefused, "provider_key_refused"),
    (invalid_request("no such invoice", "id", http_status=404), ProviderNotFound, "provider_object_missing"),
    (
        invalid_request("no such customer", "customer", code="resource_missing", http_status=400),
        ProviderNotFound,
        "provider_object_missing",
    ),
    (invalid_request("bad", "amount", http_status=400), ProviderRejected, "provider_rejected"),
    (
        card_error("declined", None, "card_declined", http_status=402, json_body=_body(decline_code="lost_card")),
        CardDeclined,
        "card_declined",
    ),
    (
        card_error("3ds", None, "authentication_required", http_status=402, json_body=_body()),
        CardDeclined,
        "authentication_required",
    ),
]


@pytest.mark.parametrize(("error", "kind", "code"), CASES, ids=[f"{case[2]}-{i}" for i, case in enumerate(CASES)])
def test_an_sdk_error_is_ours_with_a_stable_code(error: stripe.StripeError, kind: type, code: str) -> None:
    ours = translate(error)
    assert type(ours) is kind
    assert ours.code == code


def test_a_decline_keeps_the_banks_reason_and_the_payment() -> None:
    body = _body(code="card_declined", decline_code="insufficient_funds", payment_intent={"id": "pi_1"})
    ours = translate(card_error("declined", None, "card_declined", http_status=402, json_body=body))
    assert isinstance(ours, CardDeclined)
    assert (ours.decline_code, ours.payment_id, ours.provider_code) == ("insufficient_funds", "pi_1", "card_declined")


def test_a_stored_failure_that_is_replayed_is_told_from_a_new_one() -> None:
    fresh = translate(stripe.APIError("oops", http_status=500, headers={"request-id": "req_1"}))
    again = translate(stripe.APIError("oops", http_status=500, headers=REPLAYED))
    assert isinstance(fresh, ProviderUnavailable)
    assert isinstance(again, ProviderUnavailable)
    assert (fresh.replayed, again.replayed, again.request_id) == (False, True, "req_1")


@pytest.mark.parametrize(
    "secret",
    [
        "sk_test_4eC39HqLyjWDarjtT1zdp7dc",
        "rk_live_51abcDEF",
        "whsec_test_abcdef",
        "pi_3Abc_secret_Xyz",
        "seti_1Abc_secret_Xyz",
        "sk_test_****p7dc",
    ],
)
def test_S4_no_secret_passes_through_an_error(secret: str) -> None:
    ours = translate(stripe.AuthenticationError(f"Invalid API Key provided: {secret}", http_status=401))
    assert secret not in str(ours) + repr(ours) + ours.detail
    assert secret.split("_", 1)[1] not in ours.detail


def test_a_long_message_is_cut() -> None:
    assert len(without_secrets("x" * 10_000)) == 500
