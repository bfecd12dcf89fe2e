"""Who may ask: one user and one password, in any of the places where ClickHouse reads them."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message

from warehouse_sql.embedded.failure import QueryFailed


@dataclass(frozen=True, slots=True)
class Credentials:
    """The one account of the embedded warehouse."""

    user: str
    password: str = field(repr=False)

    def check(self, headers: Message, url: Mapping[str, str]) -> None:
        """Passes, or raises as ClickHouse does: 194 (HTTP 401) where nothing was sent, 516 (HTTP 403) where wrong."""
        user, password = _sent(headers, url)
        if user is None and password is None:
            raise QueryFailed(194, "REQUIRED_PASSWORD", "This server needs a user and a password.")
        # Both are compared, always and in constant time, so that timing tells nothing about either.
        same_user = hmac.compare_digest((user or "default").encode(), self.user.encode())
        same_password = hmac.compare_digest((password or "").encode(), self.password.encode())
        if not (same_user and same_password):
            raise QueryFailed(
                516,
                "AUTHENTICATION_FAILED",
                "Authentication failed: password is incorrect, or there is no user with such name.",
            )


def _sent(headers: Message, url: Mapping[str, str]) -> tuple[str | None, str | None]:
    if headers.get("X-ClickHouse-User") is not None or headers.get("X-ClickHouse-Key") is not None:
        return headers.get("X-ClickHouse-User"), headers.get("X-ClickHouse-Key")
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return user, password
    return url.get("user"), url.get("password")
