"""Stripe takes the key as the user of Basic authentication too: `curl -u sk_test_…:`."""

from base64 import b64encode

import pytest

from integrations.stripe.sandbox.accounts import account_id, authenticate
from integrations.stripe.sandbox.errors import StripeError

KEY = "sk_test_0123456789abcdef0123456789"


def test_a_key_as_the_user_of_basic_authentication_is_the_same_account() -> None:
    basic = "Basic " + b64encode(f"{KEY}:".encode()).decode()
    assert authenticate(basic) == authenticate(f"Bearer {KEY}") == (account_id(KEY), False)


@pytest.mark.parametrize(
    "header", ["Basic", "Basic ???", "Basic " + b64encode(b":" + KEY.encode()).decode(), "Digest x"]
)
def test_what_holds_no_key_is_refused(header: str) -> None:
    with pytest.raises(StripeError):
        authenticate(header)
