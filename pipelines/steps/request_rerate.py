"""Use cases: an environment has final periods rated again, bit by bit in the background, and applies what it chooses.

What is asked for is a row of the ledger, so that it outlives whoever rates it: a worker takes the next invoices under a
lease, and what they come to is written with how far it got. Nothing that was billed is touched by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from sqlalchemy.orm import Session

from billing.errors import Conflict, InvalidInput
from billing.line_adjustment import Treatment
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import audit, final_invoices, line_adjustments, meters, rerates
from ledger.store.line_adjustments import AdjustmentRecord
from ledger.store.rerates import DifferenceRecord, RerateRecord
from pipelines.steps.chosen import Chosen
from pipelines.steps.isolation import Failure
from pipelines.steps.rerate import (
    INVOICES_AT_ONCE,
    Decision,
    RatedDifference,
    RerateWanted,
    check_exists,
    record_differences,
    rerate_invoices,
)
from pipelines.steps.settle_adjustments import settle_adjustments
from warehouse_sql.client import Warehouse
from warehouse_sql.usage import safe_watermark

__all__ = [
    "AppliedRerate",
    "ApplyWanted",
    "Difference",
    "RequestedRerate",
    "apply_differences",
    "list_differences",
    "rate_next",
    "request_rerate",
]

_MOST_DAYS: Final = 366
_MOST_RUNNING: Final = 10
_LEASE: Final = timedelta(minutes=5)
# What one request applies: it has to answer in seconds.
_MOST_APPLIED: Final = 200


@dataclass(frozen=True)
class RequestedRerate:
    """Final periods that end in the days (UTC, inclusive); our ids. The rest as in `RerateWanted`."""

    first_day: date
    last_day: date
    customer_id: str | None = None
    subscription_id: str | None = None
    meter_id: str | None = None
    price_versions: dict[str, int] = field(default_factory=dict)
    prices_at: datetime | None = None


@dataclass(frozen=True)
class ApplyWanted:
    """Who decides, and why; what is chosen, all where nothing is named; `treatment` None is the environment's."""

    person: str
    reason: str
    invoice_ids: Sequence[str] = ()
    line_ids: Sequence[str] = ()
    treatment: Treatment | None = None


@dataclass(frozen=True)
class Difference:
    """A line that differs, and what was made of it."""

    found: DifferenceRecord
    adjustment: AdjustmentRecord | None


@dataclass(frozen=True)
class AppliedRerate:
    """`applied` were applied now. `changed` come to something else by now and were left alone, or could not be recorded
    as `failures` say. `left` were chosen and are for another call."""

    applied: tuple[Difference, ...]
    changed: tuple[DifferenceRecord, ...]
    failures: tuple[Failure, ...]
    left: int


def request_rerate(session: Session, scope: Scope, wanted: RequestedRerate, actor: str, now: datetime) -> RerateRecord:
    """The rating, of which nothing is done yet.

    InvalidInput `range_is_empty`, `range_too_long`; NotFound of the subscription, the meter or a price; Conflict
    `too_many_rerates`.
    """
    if wanted.last_day < wanted.first_day:
        raise InvalidInput("range_is_empty", f"{wanted.last_day} lies before {wanted.first_day}", field="last_day")
    if wanted.last_day - wanted.first_day >= timedelta(days=_MOST_DAYS):
        hint = "Ask for one year after the other."
        raise InvalidInput("range_too_long", f"it has at most {_MOST_DAYS} days", field="last_day", hint=hint)
    check_exists(session, scope, RerateWanted(now, now, wanted.subscription_id, wanted.price_versions))
    if wanted.meter_id is not None:
        meters.get_meter(session, scope, wanted.meter_id)
    if rerates.count_running(session, scope) >= _MOST_RUNNING:
        raise Conflict(
            "too_many_rerates",
            f"{_MOST_RUNNING} ratings of this environment are not done yet.",
            hint="Wait for one to end; GET /api/v1/rerates lists them.",
        )
    made = rerates.create_rerate(session, scope, **vars(wanted), requested_by=actor, now=now)
    said = {"first_day": str(made.first_day), "last_day": str(made.last_day)}
    audit.write(session, scope, actor, "rerate.requested", "rerate", made.id, said, now)
    return made


def rate_next(ledger: Ledger, warehouse: Warehouse, now: datetime) -> int:
    """Rates the next invoices of the oldest rating that nobody is at; how many, one where there were none and it is
    done. Whoever dies at it loses its lease, and another one goes on. Unavailable.
    """
    with ledger.read() as session:
        waiting = rerates.running(session, now, 1)
    if not waiting:
        return 0
    ((scope, found),) = waiting
    until = now + _LEASE
    if not ledger.run(lambda session: rerates.lease(session, scope, found, until)):
        return 1
    try:
        return _rate(ledger, warehouse, scope, found, until, now)
    except BaseException:
        ledger.run(lambda session: rerates.release(session, scope, found.id, until))
        raise


def _rate(
    ledger: Ledger, warehouse: Warehouse, scope: Scope, found: RerateRecord, until: datetime, now: datetime
) -> int:
    wanted = _wanted(found)
    with ledger.read() as session:
        some = final_invoices.final_between(
            session,
            scope,
            wanted.start,
            wanted.end,
            wanted.subscription_id,
            customer_id=wanted.customer_id,
            after=found.after,
            limit=INVOICES_AT_ONCE,
        )
    rated = rerate_invoices(ledger, warehouse, scope, wanted, some, safe_watermark(warehouse))
    is_last = len(some) < INVOICES_AT_ONCE
    ledger.run(
        lambda session: rerates.add_rated(
            session,
            scope,
            found.id,
            until,
            invoices=rated.invoices,
            lines=rated.lines,
            differences=[_row(each) for each in rated.differences],
            failures=[{"invoice_id": one.subject, "code": one.code, "detail": one.detail} for one in rated.failures],
            watermark=rated.watermark,
            after=(some[-1].period.end, some[-1].id) if some else None,
            finished_at=now if is_last else None,
        )
    )
    return max(1, len(some))


def list_differences(
    session: Session, scope: Scope, rerate_id: str, *, invoice_id: str | None, cursor: str | None, limit: int
) -> tuple[list[Difference], str | None]:
    """A page of the lines that differ, and the next cursor. NotFound `rerate_not_found`."""
    rerates.get_rerate(session, scope, rerate_id)
    page = rerates.list_differences(session, scope, rerate_id, invoice_id=invoice_id, cursor=cursor, limit=limit)
    return _with_adjustments(session, scope, page.items), page.next_cursor


def apply_differences(
    ledger: Ledger, warehouse: Warehouse, scope: Scope, rerate_id: str, wanted: ApplyWanted, actor: str, now: datetime
) -> AppliedRerate:
    """Records the chosen differences that nothing was made of yet as adjustments, and bills those that wait for no next
    invoice. Each is rated once more, and only applied where it is still what the rating says.

    NotFound `rerate_not_found`; Conflict `rerate_running`; InvalidInput `not_in_rerate`; Unavailable.
    """
    with ledger.read() as session:
        found = rerates.get_rerate(session, scope, rerate_id)
        if found.status == "running":
            raise Conflict(
                "rerate_running", "The rating is not done yet.", hint="GET it again until its status is done."
            )
        chosen = _chosen(session, scope, rerate_id, wanted)
        now_due = list(dict.fromkeys(each.invoice_id for each in chosen))[:_MOST_APPLIED]
        some = final_invoices.final_among(session, scope, now_due)
    asked = {each.line_id: each for each in chosen if each.invoice_id in set(now_due)}
    rated = rerate_invoices(ledger, warehouse, scope, _wanted(found), some, safe_watermark(warehouse))
    same = [each for each in rated.differences if each.line.id in asked and _is_same(each, asked[each.line.id])]
    decision = Decision(wanted.person, wanted.reason, actor, treatment=wanted.treatment)

    def note(session: Session, made: Sequence[AdjustmentRecord]) -> None:
        rerates.adjusted(session, scope, rerate_id, {asked[one.line_id].position: one.id for one in made})

    done = record_differences(ledger, warehouse, scope, same, decision, rated.watermark, now, note)
    settled = settle_adjustments(ledger, now, Chosen(scope.tenant_id, scope.environment_id), actor)
    made = {one.line_id for one in done.adjustments}
    with ledger.read() as session:
        again = rerates.chosen_differences(session, scope, rerate_id, line_ids=sorted(made)) if made else []
        applied = _with_adjustments(session, scope, again)
    return AppliedRerate(
        applied=tuple(applied),
        changed=tuple(each for line_id, each in asked.items() if line_id not in made),
        failures=(*rated.failures, *done.failures, *settled.failures),
        left=len(chosen) - len(asked),
    )


def _chosen(session: Session, scope: Scope, rerate_id: str, wanted: ApplyWanted) -> list[DifferenceRecord]:
    """The chosen differences of which nothing was made, oldest period first."""
    found = rerates.chosen_differences(
        session, scope, rerate_id, invoice_ids=wanted.invoice_ids, line_ids=wanted.line_ids
    )
    for field_name, named, known in (
        ("invoice_ids", wanted.invoice_ids, {each.invoice_id for each in found}),
        ("line_ids", wanted.line_ids, {each.line_id for each in found}),
    ):
        missing = [one for one in named if one not in known]
        if missing:
            raise InvalidInput(
                "not_in_rerate",
                f"holds {missing[0]}, of which nothing differs",
                field=field_name,
                hint="GET /api/v1/rerates/{rerate_id}/differences lists what differs.",
            )
    return [each for each in found if each.adjustment_id is None and each.amount != 0]


def _is_same(rated: RatedDifference, known: DifferenceRecord) -> bool:
    now = (rated.billed, rated.rated.due, rated.rated.quantity, rated.rated.price.version)
    return now == (known.billed, known.due, known.quantity, known.price_version)


def _with_adjustments(session: Session, scope: Scope, some: Sequence[DifferenceRecord]) -> list[Difference]:
    ids = {each.adjustment_id for each in some if each.adjustment_id is not None}
    known = {one.id: one for one in line_adjustments.adjustments_of(session, scope, ids)}
    return [Difference(each, known.get(each.adjustment_id or "")) for each in some]


def _wanted(found: RerateRecord) -> RerateWanted:
    return RerateWanted(
        start=datetime.combine(found.first_day, time.min, UTC),
        end=datetime.combine(found.last_day, time.min, UTC) + timedelta(days=1),
        subscription_id=found.subscription_id,
        versions=found.price_versions,
        prices_at=found.prices_at,
        customer_id=found.customer_id,
        meter_id=found.meter_id,
    )


def _row(each: RatedDifference) -> DifferenceRecord:
    line = each.line
    return DifferenceRecord(
        position=0,
        invoice_id=each.invoice.id,
        invoice_number=each.invoice.number,
        line_id=line.id,
        customer_id=each.customer_id,
        subscription_id=each.invoice.subscription_id or "",
        display_name=line.display_name,
        period=line.period,
        price_id=each.rated.price.id,
        billed_version=each.billed_version or each.rated.price.version,
        price_version=each.rated.price.version,
        billed_quantity=each.billed_quantity,
        quantity=each.rated.quantity,
        currency=each.invoice.currency,
        billed=each.billed,
        due=each.rated.due,
    )
