"""Seals a connection's secrets for the database (Fernet: AES-128-CBC with HMAC-SHA256), under keys that can rotate."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.fernet import Fernet, InvalidToken

from billing.errors import Unavailable
from billing.scope import Scope


@dataclass(frozen=True)
class Secrets:
    """What a connection needs in the clear. Several webhook secrets while one is being rolled, newest first."""

    secret_key: str = field(repr=False)
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def is_restricted(self) -> bool:
        """Whether the key can do only what was chosen for it; a secret key can do everything in the account."""
        return self.secret_key.startswith("rk_")


@dataclass(frozen=True)
class Sealed:
    """Secrets as they are stored, with what may be shown of them."""

    key_id: str
    token: str = field(repr=False)
    secret_key_last4: str
    webhook_secret_last4: str | None


class SecretBox:
    """Encrypts with the current key and decrypts with any known one."""

    def __init__(self, keys: Mapping[str, str | bytes], current: str) -> None:
        """`keys` maps a key id to a Fernet key (32 bytes, url-safe base64); `current` seals. ValueError if bad."""
        self._keys = {key_id: Fernet(key) for key_id, key in keys.items()}
        if current not in self._keys:
            raise ValueError("the current key id is not among the keys")
        self.current = current

    def seal(self, scope: Scope, secrets: Secrets) -> Sealed:
        """Seals for one scope: the scope is inside the token, so that a copied row does not open elsewhere."""
        document = {
            "scope": [scope.tenant_id, scope.environment_id],
            "secret_key": secrets.secret_key,
            "webhook_secrets": list(secrets.webhook_secrets),
        }
        token = self._keys[self.current].encrypt(json.dumps(document).encode()).decode()
        webhook_last4 = secrets.webhook_secrets[0][-4:] if secrets.webhook_secrets else None
        return Sealed(self.current, token, secrets.secret_key[-4:], webhook_last4)

    def open(self, scope: Scope, key_id: str, token: str) -> Secrets:
        """The secrets, or Unavailable when the key is unknown or the token is not this scope's."""
        key = self._keys.get(key_id)
        if key is None:
            raise Unavailable(
                "encryption_key_missing",
                f"the secrets were sealed with key {key_id!r}, which is not configured",
                hint="Add that key to TALLY_ENCRYPTION_KEYS.",
            )
        try:
            document = json.loads(key.decrypt(token.encode()))
        except InvalidToken:
            document = {}
        if document.get("scope") != [scope.tenant_id, scope.environment_id]:
            raise Unavailable(
                "secrets_unreadable",
                "the stored secrets do not open with their key",
                hint="Save the connection's secrets again.",
            )
        return Secrets(document["secret_key"], tuple(document["webhook_secrets"]))
