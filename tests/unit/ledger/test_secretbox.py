"""Sealing of connection secrets: reads back, binds to the scope, rotates, leaks nothing."""

import pytest
from cryptography.fernet import Fernet

from billing.errors import Unavailable
from billing.scope import Scope
from ledger.secretbox import SecretBox, Secrets

SCOPE = Scope("tenant_a", "env_a")
OLD_KEY, NEW_KEY = Fernet.generate_key(), Fernet.generate_key()
SECRETS = Secrets("sk_test_0123456789abcdef", ("whsec_new", "whsec_old"))


def test_sealed_secrets_open_again() -> None:
    box = SecretBox({"k1": OLD_KEY}, "k1")
    sealed = box.seal(SCOPE, SECRETS)
    assert box.open(SCOPE, sealed.key_id, sealed.token) == SECRETS
    assert (sealed.secret_key_last4, sealed.webhook_secret_last4) == ("cdef", "_new")


def test_after_a_rotation_old_tokens_open_and_new_ones_use_the_new_key() -> None:
    sealed = SecretBox({"k1": OLD_KEY}, "k1").seal(SCOPE, SECRETS)
    rotated = SecretBox({"k1": OLD_KEY, "k2": NEW_KEY}, "k2")
    assert rotated.open(SCOPE, "k1", sealed.token) == SECRETS
    assert rotated.seal(SCOPE, SECRETS).key_id == "k2"


def test_S4_a_token_copied_to_another_scope_does_not_open() -> None:
    box = SecretBox({"k1": OLD_KEY}, "k1")
    sealed = box.seal(SCOPE, SECRETS)
    with pytest.raises(Unavailable, match="do not open"):
        box.open(Scope("tenant_b", "env_a"), sealed.key_id, sealed.token)


@pytest.mark.parametrize(("key_id", "code"), [("k9", "encryption_key_missing"), ("k2", "secrets_unreadable")])
def test_a_missing_or_wrong_key_is_named_without_the_secret(key_id: str, code: str) -> None:
    sealed = SecretBox({"k1": OLD_KEY}, "k1").seal(SCOPE, SECRETS)
    with pytest.raises(Unavailable) as caught:
        SecretBox({"k2": NEW_KEY}, "k2").open(SCOPE, key_id, sealed.token)
    assert caught.value.code == code
    assert "sk_test" not in str(caught.value) + str(caught.value.__cause__)


def test_S4_printing_secrets_or_their_sealed_form_shows_neither() -> None:
    sealed = SecretBox({"k1": OLD_KEY}, "k1").seal(SCOPE, SECRETS)
    assert "sk_test" not in repr(SECRETS)
    assert "whsec" not in repr(SECRETS)
    assert sealed.token not in repr(sealed)


def test_an_unknown_current_key_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="current key"):
        SecretBox({"k1": OLD_KEY}, "k2")
