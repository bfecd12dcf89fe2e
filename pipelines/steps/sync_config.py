"""What travels between here and the provider: a connection's `sync_config`, checked when saved, asked before use.

    {"customer": {"inbound": true, "outbound": true}, "plan": {"outbound": true}, "invoice": {"outbound": true},
     "subscription": {"inbound": false, "outbound": false}, "payment": {"inbound": true},
     "collection": "stripe" | "tallyhouse" | "manual", "retry_days": [3, 5, 7],
     "after_last_try": "past_due" | "uncollectible", "days_until_due": 30,
     "calls_per_second": 80, "endpoint_calls_per_second": 20}

All of it is optional, and this is what holds where it is left out. `collection` says who charges and retries:
the provider by itself, we on the schedule of `retry_days` (days from one try to the next), or nobody but who asks.
The last two bound how fast the account is called, over all that share it: in all, and at one of its endpoints.
"""

from collections.abc import Mapping
from typing import Any

from billing.errors import InvalidInput

__all__ = [
    "AFTER_LAST_TRY",
    "COLLECTIONS",
    "DEFAULT_DAYS_UNTIL_DUE",
    "DEFAULT_RETRY_DAYS",
    "calls_per_second",
    "check_sync_config",
    "endpoint_calls_per_second",
    "merged",
    "syncs",
]

COLLECTIONS = ("stripe", "tallyhouse", "manual")
AFTER_LAST_TRY = ("past_due", "uncollectible")
DEFAULT_RETRY_DAYS = (3, 5, 7)
# Card networks count tries and charge for too many of them.
_MOST_RETRIES = 8
_LONGEST_GAP = 60
_PACES = frozenset({"calls_per_second", "endpoint_calls_per_second"})
_FASTEST = 10_000
DEFAULT_DAYS_UNTIL_DUE = 30

# What can be done for each entity. A direction that is not here is refused: a setting that
# nobody acts on would be a false promise.
_DONE: Mapping[str, frozenset[str]] = {
    "customer": frozenset({"inbound", "outbound"}),
    "plan": frozenset({"outbound"}),
    "subscription": frozenset({"inbound", "outbound"}),
    "invoice": frozenset({"outbound"}),
    "payment": frozenset({"inbound"}),
}
# Done only where it is asked for: the mirrors' invoices of 0 would come as a surprise.
_ASKED_FOR = frozenset({"subscription"})
# Money that came in for an invoice of ours is always booked: leaving it out would ask the customer for it again.
_ALWAYS = frozenset({("payment", "inbound")})


def syncs(config: Mapping[str, Any], entity: str, direction: str) -> bool:
    """Whether an entity travels in a direction, `inbound` or `outbound`.

    >>> syncs({}, "customer", "inbound"), syncs({"customer": {"inbound": False}}, "customer", "inbound")
    (True, False)
    """
    by_itself = direction in _DONE[entity] and entity not in _ASKED_FOR
    return bool(config.get(entity, {}).get(direction, by_itself))


def calls_per_second(config: Mapping[str, Any], *, live: bool) -> int:
    """Calls to the whole account. Four fifths of what Stripe allows, so that the Dashboard and others have the rest.

    https://docs.stripe.com/rate-limits: 100 a second live, 25 in test mode.

    >>> calls_per_second({}, live=True), calls_per_second({}, live=False)
    (80, 20)
    """
    return int(config.get("calls_per_second", 80 if live else 20))


def endpoint_calls_per_second(config: Mapping[str, Any]) -> int:
    """Calls to one endpoint, of which Stripe allows 25 a second.

    >>> endpoint_calls_per_second({})
    20
    """
    return int(config.get("endpoint_calls_per_second", 20))


def merged(present: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The settings after a change that names only what differs.

    >>> merged({"collection": "manual", "customer": {"inbound": False}}, {"customer": {"outbound": False}})
    {'collection': 'manual', 'customer': {'inbound': False, 'outbound': False}}
    """
    directions = {
        entity: {**present.get(entity, {}), **changes.get(entity, {})}
        for entity in _DONE
        if entity in present or entity in changes
    }
    return {**present, **changes, **directions}


def check_sync_config(config: Mapping[str, Any]) -> None:
    """InvalidInput `sync_config_invalid`; `sync_direction_not_supported` for what is not done or cannot be stopped."""
    unknown = set(config) - {*_DONE, "collection", "retry_days", "after_last_try", "days_until_due", *_PACES}
    if unknown:
        raise _bad(min(unknown), "is not a setting")
    for entity in _DONE.keys() & config.keys():
        _check_directions(entity, config[entity])
    if config.get("collection", COLLECTIONS[0]) not in COLLECTIONS:
        raise _bad("collection", "is none of stripe, tallyhouse and manual")
    _check_retries(config)
    for name in _PACES & config.keys():
        pace = config[name]
        if isinstance(pace, bool) or not isinstance(pace, int) or not 1 <= pace <= _FASTEST:
            raise _bad(name, f"is not a number of calls between 1 and {_FASTEST}")
    days = config.get("days_until_due", DEFAULT_DAYS_UNTIL_DUE)
    if isinstance(days, bool) or not isinstance(days, int) or not 0 <= days <= 365:
        raise _bad("days_until_due", "is not a number of days between 0 and 365")


def _check_retries(config: Mapping[str, Any]) -> None:
    days = config.get("retry_days", DEFAULT_RETRY_DAYS)
    if not isinstance(days, list | tuple) or len(days) > _MOST_RETRIES:
        raise _bad("retry_days", f"is not a list of at most {_MOST_RETRIES} numbers of days")
    for position, gap in enumerate(days):
        if isinstance(gap, bool) or not isinstance(gap, int) or not 1 <= gap <= _LONGEST_GAP:
            raise _bad(f"retry_days[{position}]", f"is not a number of days between 1 and {_LONGEST_GAP}")
    if config.get("after_last_try", AFTER_LAST_TRY[0]) not in AFTER_LAST_TRY:
        raise _bad("after_last_try", "is neither past_due nor uncollectible")


def _check_directions(entity: str, asked: Any) -> None:
    if not isinstance(asked, Mapping) or not set(asked) <= {"inbound", "outbound"}:
        raise _bad(entity, "holds inbound and outbound")
    for direction, wanted in asked.items():
        field = f"sync_config.{entity}.{direction}"
        if not isinstance(wanted, bool):
            raise _bad(f"{entity}.{direction}", "is neither true nor false")
        if wanted and direction not in _DONE[entity]:
            raise InvalidInput(
                "sync_direction_not_supported",
                f"A {entity} is not synced {direction}.",
                field=field,
                hint="Send false, or leave it out.",
            )
        if not wanted and (entity, direction) in _ALWAYS:
            raise InvalidInput(
                "sync_direction_not_supported",
                "What Stripe has received for an invoice is always booked.",
                field=field,
                hint="Send true, or leave it out; to send no invoices there, switch invoice.outbound off.",
            )


def _bad(name: str, what: str) -> InvalidInput:
    return InvalidInput("sync_config_invalid", what, field=f"sync_config.{name}")
