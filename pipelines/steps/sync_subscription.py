"""A running subscription of ours and its mirror at the provider, which shows it there and costs nothing.

The mirror has one item at a price of 0, so the provider never bills what is billed here. It has in common with ours:
the plan, whether it is paused, and an end that is to come. What was changed on one side since both were equal goes to
the other, as far as the directions of `sync_config` say; what was changed on both sides stays as it is here. An end is
for good: whichever side ends first ends the other, as the provider can revive nothing.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from billing.catalog_port import (
    OUR_SUBSCRIPTION,
    NewProviderSubscription,
    ProviderSubscription,
    SubscriptionState,
)
from billing.errors import Conflict, InvalidInput, NotFound
from billing.period import parse_interval
from billing.ports import ProviderNotFound, ProviderUnavailable
from billing.scope import Scope
from billing.subscription import SubscriptionStatus
from ledger.db import Ledger
from ledger.store import invoices, mappings, outbox
from ledger.store.mappings import MappingRecord
from ledger.store.subscriptions import SubscriptionRecord, get_subscription
from pipelines.steps import change_subscription, provider_mapping, sync_customer, sync_plan
from pipelines.steps.change_subscription import SubscriptionChanges, When
from pipelines.steps.connections import PROVIDER, Link
from pipelines.steps.follow_invoice import is_of

__all__ = ["follow_subscription", "is_current", "push_subscription"]

ENTITY = "subscription"
BILLED_THERE = "billed_at_provider"


def push_subscription(ledger: Ledger, scope: Scope, link: Link, subscription_id: str, now: datetime) -> str | None:
    """Brings the mirror up to date; its id, or None where there is none: before the start, and after the end.

    NotFound `subscription_not_found`; Conflict `interval_not_at_provider`; ProviderUnavailable: run it again;
    ProviderRejected.
    """
    with ledger.read() as session:
        ours = get_subscription(session, scope, subscription_id)
        mapping = mappings.get_mapping(session, scope, link.connection.id, ENTITY, ours.id)
    status = ours.life().status_at(now)
    if mapping is None or mapping.provider_id is None:
        if status in {SubscriptionStatus.SCHEDULED, SubscriptionStatus.CANCELLED}:
            return None
        mapping = _create(ledger, scope, link, ours, now)
    provider_id = mapping.provider_id or ""
    if mapping.detail.get("status") == "ended":
        return provider_id
    if status is not SubscriptionStatus.CANCELLED and _present(ledger, scope, link, ours, now) == _base(mapping):
        return provider_id
    theirs = link.gateway.get_subscription(provider_id)
    ours = _merge(ledger, scope, link, mapping, theirs, now)
    if theirs.ended_at is None:
        _write(ledger, scope, link, ours, mapping, theirs, now)
    return provider_id


def is_current(session: Session, scope: Scope, connection_id: str, ours: SubscriptionRecord, now: datetime) -> bool:
    """Whether the mirror is what ours is at `now`. Asks the ledger only."""
    mapping = mappings.get_mapping(session, scope, connection_id, ENTITY, ours.id)
    status = ours.life().status_at(now)
    if mapping is None or mapping.provider_id is None:
        failed = mapping is not None and mapping.state == "failed"
        return failed or status in {SubscriptionStatus.SCHEDULED, SubscriptionStatus.CANCELLED}
    if mapping.detail.get("status") == "ended":
        return True
    if status is SubscriptionStatus.CANCELLED:
        return False
    product = mappings.get_mapping(session, scope, connection_id, sync_plan.PLAN, ours.life().segment_at(now).plan_id)
    return product is not None and _state(ours, product.provider_id or "", now) == _base(mapping)


def follow_subscription(ledger: Ledger, scope: Scope, link: Link, provider_id: str, now: datetime) -> bool:
    """Looks at one of the provider's subscriptions again. False when it is no mirror of ours."""
    theirs = link.gateway.get_subscription(provider_id)
    with ledger.read() as session:
        mapping = mappings.by_provider_id(session, scope, link.connection.id, ENTITY, provider_id)
    mapping = mapping or _adopted(ledger, scope, link, theirs, now)
    if mapping is None:
        return False
    ours = _merge(ledger, scope, link, mapping, theirs, now)
    if theirs.ended_at is None and link.syncs(ENTITY, "outbound"):
        with ledger.begin() as session:
            held = provider_mapping.held(session, scope, mapping)
            if _present(ledger, scope, link, ours, now) != _base(held):
                outbox.enqueue(session, scope, "subscription.sync", ours.id, now)
    return True


def _create(ledger: Ledger, scope: Scope, link: Link, ours: SubscriptionRecord, now: datetime) -> MappingRecord:
    interval = parse_interval(ours.interval)
    if not link.gateway.has_interval(interval):
        raise Conflict("interval_not_at_provider", f"Stripe has no subscriptions of {ours.interval}")
    state = _present(ledger, scope, link, ours, now)
    period = ours.period_at(now)
    in_trial = ours.trial_end is not None and ours.trial_end > now
    customer_id = sync_customer.ensure_customer(ledger, scope, link, ours.customer_id, now)
    wanted = {
        "customer_id": customer_id,
        "product_id": state.product_id,
        "start": ours.start_date.isoformat(),
        "period_end": None if period is None or in_trial else _grid_end(ours, now).isoformat(),
        "trial_end": ours.trial_end.isoformat() if in_trial and ours.trial_end is not None else None,
        "cancel_at": state.cancel_at and state.cancel_at.isoformat(),
        "metadata": {
            OUR_SUBSCRIPTION: ours.id,
            "tenant": scope.tenant_id,
            "environment": scope.environment_id,
        },
    }

    def create(intended: MappingRecord) -> ProviderSubscription:
        new = _new_subscription(intended.detail["request"], ours)
        return link.gateway.create_subscription(new, f"sub:{ours.id}:create:{intended.key_version}")

    def find(intended: MappingRecord) -> ProviderSubscription | None:
        return link.gateway.find_subscription(intended.detail["request"]["customer_id"], ours.id)

    with ledger.begin() as session:
        mapping = provider_mapping.intend(session, scope, link.connection, ENTITY, ours.id, wanted, now)
    try:
        return provider_mapping.make_once(
            ledger, scope, link.connection, mapping, create=create, find=find, state="done", now=now
        )
    except ProviderNotFound as error:
        # Customer or product were deleted there: the next try asks anew, for new ones.
        sync_customer.replace_customer(ledger, scope, link, ours.customer_id, customer_id, now)
        with ledger.begin() as session:
            provider_mapping.restart(session, scope, mapping, now)
        raise ProviderUnavailable("provider_failed", error.detail) from error


def _write(
    ledger: Ledger,
    scope: Scope,
    link: Link,
    ours: SubscriptionRecord,
    mapping: MappingRecord,
    theirs: ProviderSubscription,
    now: datetime,
) -> None:
    """Makes the mirror what ours is now."""
    if ours.life().status_at(now) is SubscriptionStatus.CANCELLED:
        # Not found where it ended by itself at the same moment, which `cancel_at` had announced there.
        with suppress(ProviderNotFound):
            link.gateway.cancel_subscription(theirs.id)
        with ledger.begin() as session:
            provider_mapping.note(session, scope, mapping, {"status": "ended"}, now)
        return
    wanted = _present(ledger, scope, link, ours, now)
    if wanted == theirs.state:
        return
    with ledger.begin() as session:
        held = provider_mapping.held(session, scope, mapping)
        number = int(held.detail.get("updates", 0)) + 1
        provider_mapping.note(session, scope, held, {"updates": number}, now)
    interval = parse_interval(ours.interval)
    seen = link.gateway.update_subscription(theirs, wanted, ours.currency, interval, f"sub:{ours.id}:update:{number}")
    with ledger.begin() as session:
        _remember(session, scope, mapping, seen, now)


def _merge(
    ledger: Ledger, scope: Scope, link: Link, mapping: MappingRecord, theirs: ProviderSubscription, now: datetime
) -> SubscriptionRecord:
    """Takes over what changed there since both sides were equal and did not change here; ours afterwards."""
    with ledger.read() as session:
        ours = get_subscription(session, scope, mapping.entity_id)
        known = mappings.get_mapping(session, scope, mapping.connection_id, ENTITY, mapping.entity_id) or mapping
    base, here = _base(known), _present(ledger, scope, link, ours, now)
    problem: str | None = None
    if link.syncs(ENTITY, "inbound") and ours.life().status_at(now) is not SubscriptionStatus.CANCELLED:
        try:
            ledger.run(lambda session: _take_over(session, scope, ours, base, here, theirs, now))
        except (Conflict, InvalidInput, NotFound) as error:
            problem = f"{error.code}: {error.detail}"
    elif theirs.ended_at is not None and ours.life().status_at(now) is not SubscriptionStatus.CANCELLED:
        problem = "ended_at_provider: it goes on here, as subscriptions do not come in"
    with ledger.begin() as session:
        _remember(session, scope, provider_mapping.held(session, scope, known), theirs, now, problem)
        return get_subscription(session, scope, ours.id)


def _take_over(
    session: Session,
    scope: Scope,
    ours: SubscriptionRecord,
    base: SubscriptionState | None,
    here: SubscriptionState,
    theirs: ProviderSubscription,
    now: datetime,
) -> None:
    if theirs.ended_at is not None:
        last = invoices.last_closed_end(session, scope, ours.id)
        end = max(moment for moment in (theirs.ended_at, ours.start_date, last) if moment is not None)
        change_subscription.cancel(session, scope, ours.id, _when(end, now))
        return
    there = theirs.state
    if base is None:
        return
    if there.cancel_at != base.cancel_at and here.cancel_at == base.cancel_at:
        wanted = SubscriptionChanges(ends=True, end_date=there.cancel_at)
        change_subscription.change_terms(session, scope, ours.id, wanted, _when("now", now))
    if there.paused != base.paused and here.paused == base.paused:
        move = change_subscription.pause if there.paused else change_subscription.resume
        move(session, scope, ours.id, _when("now", now))


def _when(effective: change_subscription.Effective, now: datetime) -> When:
    return When(effective, "changed at Stripe", PROVIDER, now)


def _adopted(
    ledger: Ledger, scope: Scope, link: Link, theirs: ProviderSubscription, now: datetime
) -> MappingRecord | None:
    """The mapping of a mirror that names ours: made by us a moment ago, or by somebody by hand."""
    our_id = theirs.metadata.get(OUR_SUBSCRIPTION)
    if our_id is None or not is_of(scope, theirs.metadata) or theirs.ended_at is not None:
        return None
    try:
        with ledger.begin() as session:
            ours = get_subscription(session, scope, our_id)
            mappings.intend(session, scope, link.connection.id, ENTITY, ours.id, now)
            return mappings.record(
                session, scope, link.connection.id, ENTITY, ours.id, state="done", provider_id=theirs.id, now=now
            )
    except (NotFound, Conflict):
        # Another one is the mirror, or there is nothing to mirror.
        return None


def _remember(
    session: Session,
    scope: Scope,
    mapping: MappingRecord,
    seen: ProviderSubscription,
    now: datetime,
    problem: str | None = None,
) -> None:
    """The state that both sides have in common from now on, and what is wrong with the mirror."""
    if seen.bills:
        problem = f"{BILLED_THERE}: an item of it costs something at Stripe, where it would be billed a second time"
    status = "ended" if seen.ended_at is not None else "paused" if seen.state.paused else "running"
    state = seen.state
    base = {
        "product_id": state.product_id,
        "paused": state.paused,
        "cancel_at": state.cancel_at and state.cancel_at.isoformat(),
    }
    mappings.record(
        session,
        scope,
        mapping.connection_id,
        ENTITY,
        mapping.entity_id,
        state=mapping.state,
        detail={"pushed": base, "status": status},
        last_error=problem,
        now=now,
    )


def _base(mapping: MappingRecord) -> SubscriptionState | None:
    known: Mapping[str, Any] | None = mapping.detail.get("pushed")
    if known is None:
        request: Mapping[str, Any] | None = mapping.detail.get("request")
        if request is None:
            return None
        known = {"product_id": request["product_id"], "paused": False, "cancel_at": request["cancel_at"]}
    cancel_at = known["cancel_at"]
    return SubscriptionState(
        known["product_id"], known["paused"], None if cancel_at is None else datetime.fromisoformat(cancel_at)
    )


def _present(ledger: Ledger, scope: Scope, link: Link, ours: SubscriptionRecord, now: datetime) -> SubscriptionState:
    plan_id = ours.life().segment_at(now).plan_id
    return _state(ours, sync_plan.ensure_product(ledger, scope, link, plan_id, now), now)


def _state(ours: SubscriptionRecord, product_id: str, now: datetime) -> SubscriptionState:
    return SubscriptionState(
        product_id=product_id,
        paused=ours.life().segment_at(now).why is SubscriptionStatus.PAUSED,
        cancel_at=_second(ours.end_date) if ours.end_date is not None and ours.end_date > now else None,
    )


def _grid_end(ours: SubscriptionRecord, now: datetime) -> datetime:
    """Where the present period would end if the subscription went on: the provider's grid does not know of the end."""
    return ours.schedule().period_at(now).end


def _second(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


def _new_subscription(request: Mapping[str, Any], ours: SubscriptionRecord) -> NewProviderSubscription:
    def moment(name: str) -> datetime | None:
        return None if request[name] is None else datetime.fromisoformat(request[name])

    return NewProviderSubscription(
        customer_id=request["customer_id"],
        product_id=request["product_id"],
        currency=ours.currency,
        interval=parse_interval(ours.interval),
        start=moment("start") or ours.start_date,
        period_end=moment("period_end"),
        trial_end=moment("trial_end"),
        cancel_at=moment("cancel_at"),
        metadata=request["metadata"],
    )
