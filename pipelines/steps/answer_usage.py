"""Use case: what a meter counted, asked by whichever id a customer goes by."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from billing.errors import InvalidInput, NotFound, TallyError, Unavailable
from billing.meter import Filter, Meter
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import customers, meters
from warehouse_sql.client import Warehouse
from warehouse_sql.usage import OrderBy, UsageAnswer, UsageQuery, read_usage

__all__ = ["AnswerOrError", "UsageQuestion", "answer_each", "answer_usage", "external_ids"]

# What a part of the query is called in the question.
_ASKED = {"start": "start_time", "end": "end_time", "window": "window_size"}

# The answer by external ids with the id under which each was asked for, or why there is none.
AnswerOrError = tuple[UsageAnswer, dict[str, str]] | TallyError


@dataclass(frozen=True)
class UsageQuestion:
    """`customer_ids` are ours or external ones; None asks for everybody. The time is [start_time, end_time)."""

    meter_id: str
    customer_ids: Sequence[str] | None
    start_time: datetime
    end_time: datetime
    window_size: Literal["minute", "hour", "day", "week", "month"] | None = None
    timezone: str = "UTC"
    group_by: Sequence[str] = ()
    filters: Sequence[Filter] = ()
    order_by: OrderBy | None = None
    descending: bool | None = None
    limit: int | None = None
    cursor: str | None = None


def answer_usage(
    ledger: Ledger, warehouse: Warehouse, scope: Scope, question: UsageQuestion
) -> tuple[UsageAnswer, dict[str, str]]:
    """The answer by external ids, and for each of them the id under which it was asked for.

    Errors: NotFound `meter_not_found`, `customer_not_found`; InvalidInput `end_before_start` and those of
    `read_usage`; Unavailable.
    """
    if question.end_time <= question.start_time:
        raise InvalidInput(
            "end_before_start", "The end must come after the start.", field="end_time", hint="Use a later end_time."
        )
    with ledger.read() as session:
        meter = meters.get_meter(session, scope, question.meter_id)
    ids = question.customer_ids
    asked_as = None if ids is None else external_ids(ledger, warehouse, scope, meter, ids)
    query = UsageQuery(
        scope=scope,
        meter=meter,
        start=question.start_time,
        end=question.end_time,
        customer_ids=None if asked_as is None else tuple(asked_as),
        window=question.window_size,
        timezone=question.timezone,
        group_by=tuple(question.group_by),
        filters=tuple(question.filters),
        order_by=question.order_by,
        descending=question.descending,
        limit=question.limit,
        cursor=question.cursor,
    )
    try:
        return read_usage(warehouse, query), asked_as or {}
    except InvalidInput as error:
        error.field = _ASKED.get(error.field or "", error.field)
        raise


def answer_each(
    ledger: Ledger, warehouse: Warehouse, scope: Scope, questions: Sequence[UsageQuestion]
) -> list[AnswerOrError]:
    """One answer or error for each question, in their order. Raises Unavailable when ledger or warehouse is."""
    answers: list[AnswerOrError] = []
    for question in questions:
        try:
            answers.append(answer_usage(ledger, warehouse, scope, question))
        except Unavailable:
            raise
        except TallyError as error:
            answers.append(error)
    return answers


def external_ids(
    ledger: Ledger, warehouse: Warehouse, scope: Scope, meter: Meter, asked: Sequence[str]
) -> dict[str, str]:
    """External id -> the id asked for. Events may come before their customer is created, so those count as well.

    NotFound `customer_not_found`.
    """
    found: dict[str, str] = {}
    with ledger.read() as session:
        for customer_id in asked:
            try:
                found[customers.get_customer(session, scope, customer_id).external_id] = customer_id
            except NotFound:
                if not _has_events(warehouse, scope, meter, customer_id):
                    raise
                found[customer_id] = customer_id
    return found


def _has_events(warehouse: Warehouse, scope: Scope, meter: Meter, customer_id: str) -> bool:
    named = {
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "event_name": meter.event_name,
        "customer_id": customer_id,
    }
    return bool(warehouse.rows("queries/customer_has_events", named))
