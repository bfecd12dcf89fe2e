"""Which of the caller's own ids a `cus_…` id stands for: the warehouse knows a customer by that one only."""

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable

from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import customers

__all__ = ["CustomerNames", "looks_like_ours"]

_OURS = re.compile(r"cus_[0-9A-HJKMNP-TV-Z]{26}", re.ASCII)
_MOST_NAMES = 100_000


def looks_like_ours(customer_id: str) -> bool:
    """Whether an id has the form that we give; no caller can choose such an id for a customer."""
    return _OURS.fullmatch(customer_id) is not None


class CustomerNames:
    """Our id -> the external id. It never changes, so what was read once holds for good."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: OrderedDict[tuple[Scope, str], str] = OrderedDict()
        self._lock = threading.Lock()

    def external(self, scope: Scope, ids: Iterable[str]) -> dict[str, str]:
        """The external ids of those of `ids` that are ours and exist."""
        wanted = {customer_id for customer_id in ids if looks_like_ours(customer_id)}
        found = {each: name for each in wanted if (name := self._known.get((scope, each))) is not None}
        missing = wanted - found.keys()
        if missing:
            with self._ledger.read() as session:
                read = customers.external_ids(session, scope, missing)
            self._remember(scope, read)
            found |= read
        return found

    def _remember(self, scope: Scope, names: dict[str, str]) -> None:
        with self._lock:
            for customer_id, name in names.items():
                self._known[scope, customer_id] = name
            while len(self._known) > _MOST_NAMES:
                self._known.popitem(last=False)
