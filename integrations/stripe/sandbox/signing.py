"""The Stripe-Signature header: HMAC-SHA256 over `{timestamp}.{body}`, one v1 part for each secret that is valid."""

import hashlib
import hmac
from collections.abc import Sequence


def header(body: bytes, secrets: Sequence[str], timestamp: int) -> str:
    signed = str(timestamp).encode() + b"." + body
    parts = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={timestamp}", *(f"v1={part}" for part in parts)])
