"""Which requests came lately, so that one that is repeated is told so at once and costs no second insert.

What clients repeat is a whole request whose answer they did not get, so a request is found by the identity of its first
event, and looked at event by event only then: remembering costs next to nothing. Only what is on disk is remembered,
and not for long. That an identity counts once does not rest on this (E3); the engine and the reconcile step see to it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from billing.scope import Scope

__all__ = ["RecentRequests", "Sifted"]


@dataclass(frozen=True, slots=True)
class Sifted:
    """A request's rows: the first one of each identity, and those that contradict an earlier one of the request.

    What is in neither came before with the same content. `identities` are those of `fresh`.
    """

    identities: Sequence[str]
    fresh: Sequence[bytes]
    conflicting: Sequence[bytes]


class RecentRequests:
    """The identities and rows of the latest requests, together at most `most` events."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._events = 0
        # Texts in tuples of texts, which Python's garbage collector leaves alone: else the 50,000 requests of one event
        # each would be looked through again and again, while all others wait.
        self._known: OrderedDict[str, tuple[tuple[str, ...], tuple[bytes, ...]]] = OrderedDict()

    def sift(self, scope: Scope, identities: Sequence[str], rows: Sequence[bytes]) -> Sifted:
        """Sorts a request's rows by what is known of their identities."""
        conflicting: list[bytes] = []
        if len(set(identities)) < len(identities):
            first: dict[str, bytes] = {}
            conflicting = [
                row for identity, row in zip(identities, rows, strict=True) if first.setdefault(identity, row) != row
            ]
            identities, rows = list(first), list(first.values())
        known = self._known.get(_key(scope, identities[0])) if identities else None
        if known is not None:
            stored = dict(zip(*known, strict=True))
            fresh = [(at, row) for at, row in zip(identities, rows, strict=True) if stored.get(at) != row]
            identities, rows = [at for at, _ in fresh], [row for _, row in fresh]
        return Sifted(identities, rows, conflicting)

    def remember(self, scope: Scope, stored: Sifted) -> None:
        """Notes what is on disk now."""
        size = len(stored.identities)
        if not 0 < size <= self._most:
            return
        key = _key(scope, stored.identities[0])
        if key in self._known:
            return
        self._known[key] = (tuple(stored.identities), tuple(stored.fresh))
        self._events += size
        while self._events > self._most:
            _, (gone, _) = self._known.popitem(last=False)
            self._events -= len(gone)


def _key(scope: Scope, identity: str) -> str:
    # No id holds a control character.
    return f"{scope.tenant_id}\n{scope.environment_id}\n{identity}"
