"""The hot path: bytes in, stored events out. No pydantic, no copy that is not needed, one thread hop."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from api.deps import Deps
from api.names import looks_like_ours
from billing.errors import InvalidInput
from billing.scope import Scope
from ingestion.decode import Decoded, Refused
from ingestion.event import Event

__all__ = ["store_batch", "store_one"]


def store_one(deps: Deps, scope: Scope, event: Event) -> None:
    """Write one event; returns when it is stored. InvalidInput `customer_not_found`, Unavailable."""
    kept, refused = _named(deps, scope, [event], [0])
    if refused:
        raise InvalidInput(refused[0].code, refused[0].reason, field=refused[0].field)
    deps.writer.write(scope, kept)


def store_batch(deps: Deps, scope: Scope, decoded: Decoded) -> dict[str, object]:
    """Write a batch's good events and say what became of each; returns when they are stored.

    Raises Unavailable when the warehouse is down: then nothing is acknowledged and everything may be sent again.
    """
    bad = {each.index for each in decoded.refused}
    total = len(decoded.events) + len(bad)
    kept, unknown = _named(deps, scope, decoded.events, [index for index in range(total) if index not in bad])
    written = deps.writer.write(scope, kept)
    refused = sorted((*decoded.refused, *unknown), key=lambda each: each.index)
    return {
        "accepted": written.stored,
        "duplicates": written.duplicates,
        "refused": [asdict(each) for each in refused],
    }


def _named(
    deps: Deps, scope: Scope, events: Sequence[Event], indexes: Sequence[int]
) -> tuple[Sequence[Event], list[Refused]]:
    """The events under their customers' own ids, and those whose id can never be a customer's.

    No caller can choose an id of our form, so one that names nobody would never be billed: it is refused.
    """
    ours = {event.customer_id for event in events if looks_like_ours(event.customer_id)}
    if not ours:
        return events, []
    names: Mapping[str, str] = deps.names.external(scope, ours)
    kept: list[Event] = []
    refused: list[Refused] = []
    for index, event in zip(indexes, events, strict=True):
        if event.customer_id not in ours:
            kept.append(event)
        elif (name := names.get(event.customer_id)) is not None:
            event.customer_id = name
            kept.append(event)
        else:
            refused.append(Refused(index, "customer_not_found", "names no customer", "customer_id"))
    return kept, refused
