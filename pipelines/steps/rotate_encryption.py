"""Use case: every connection's secrets are sealed anew with the current encryption key, so that older keys can go."""

from dataclasses import dataclass

from billing.errors import NotFound, Unavailable
from ledger.db import Ledger
from ledger.secretbox import SecretBox
from ledger.store import connections

__all__ = ["Rotated", "rotate_encryption"]


@dataclass(frozen=True)
class Rotated:
    """How many connections were sealed anew; `unreadable` names those that no known key opens, each with the reason."""

    resealed: int
    unreadable: tuple[tuple[str, str], ...]


def rotate_encryption(ledger: Ledger, box: SecretBox) -> Rotated:
    """One short transaction per connection: cut off, it goes on where it stopped; the API may run meanwhile.

    Every process must know the new key before: what it cannot open it cannot use. Repeated once nobody seals with an
    older key any more, it finds nothing left to do.
    """
    with ledger.read() as session:
        waiting = connections.sealed_with_others(session, box)
    resealed, unreadable = 0, []
    for scope, connection_id in waiting:
        try:
            with ledger.begin() as session:
                connections.reseal_secrets(session, scope, connection_id, box)
            resealed += 1
        except NotFound:
            pass  # It was deleted meanwhile, and its secrets with it.
        except Unavailable as error:
            if error.code not in {"encryption_key_missing", "secrets_unreadable"}:
                raise
            unreadable.append((connection_id, error.detail))
    return Rotated(resealed, tuple(unreadable))
