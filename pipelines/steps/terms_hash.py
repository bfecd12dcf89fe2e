"""What stands for all that a period is billed by, but for its quantities: most subscriptions share it with many."""

from collections.abc import Sequence
from typing import Any

from billing.invoice import content_hash
from pipelines.steps.billing_day import Due
from pipelines.steps.plan_prices import Part

__all__ = ["terms_hash"]

_MOST_KEPT = 10_000
# By what makes the hash, most of it by the object itself. The objects are kept as well: while one of them is there, no
# other has its id.
_known: dict[tuple[Any, ...], tuple[str, tuple[Any, ...]]] = {}


def terms_hash(due: Due, parts: Sequence[Part], code_version: str) -> str:
    """Stands for the rules of the subscription, the time that is billed, and the versions of the parts' prices and
    meters.

    Parts, segments and what they hold never change once they are made, so the same objects have the same hash.
    """
    subscription = due.subscription
    rules = (subscription.currency, subscription.interval, subscription.billing_anchor, subscription.timezone)
    key = (code_version, rules, due.period, due.full, due.is_start, id(due.segments), id(parts))
    found = _known.get(key)
    if found is None:
        if len(_known) >= _MOST_KEPT:
            _known.clear()
        found = _known[key] = (_terms_hash(due, parts, code_version), (due.segments, parts))
    return found[0]


def _terms_hash(due: Due, parts: Sequence[Part], code_version: str) -> str:
    subscription = due.subscription
    return content_hash(
        {
            "code_version": code_version,
            "subscription": {
                "currency": subscription.currency,
                "interval": subscription.interval,
                "billing_anchor": subscription.billing_anchor,
                "timezone": subscription.timezone,
            },
            "period": due.period,
            "full": due.full,
            # What becomes of the first period after its advance was billed is for its own invoice.
            "segments": [] if due.is_start else due.segments,
            "prices": [
                {
                    "id": part.price.record.id,
                    "version": part.price.record.version,
                    "spec": part.price.record.spec,
                    "meter": None if part.price.meter is None else [part.price.meter.id, part.price.meter.version],
                    "continues": part.price.continues,
                    "period": part.period,
                }
                for part in parts
            ],
        }
    )
