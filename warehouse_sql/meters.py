"""A meter in the words of the SQL files: which event, which text is the value, which filters."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from billing.exact import canonical
from billing.meter import Filter, FilterOp, Meter
from billing.scope import Scope
from warehouse_sql.instants import to_micros

# The SQL knows lists only: eq and ne are in and not_in of one value.
_AS_LISTS = {FilterOp.EQ: FilterOp.IN, FilterOp.NE: FilterOp.NOT_IN}


def meter_params(scope: Scope, meter: Meter) -> dict[str, Any]:
    """The parameters of every query about one meter."""
    return {
        **scope_params(scope),
        "meter_id": meter.id,
        "meter_version": meter.version,
        "event_name": meter.event_name,
        "aggregation": meter.aggregation.type.value,
        "property": meter.aggregation.property or "",
        "filters": filters_of(meter),
        "event_from_us": 0 if meter.event_from is None else to_micros(meter.event_from),
    }


def scope_params(scope: Scope) -> dict[str, Any]:
    return {"tenant_id": scope.tenant_id, "environment_id": scope.environment_id}


def customer_params(customer_ids: Sequence[str] | None) -> dict[str, Any]:
    """None stands for all customers."""
    return {"all_customers": customer_ids is None, "customer_ids": list(customer_ids or ())}


def filters_of(meter: Meter) -> list[tuple[str, str, list[str]]]:
    """As `filter_params`, of a meter's own filters."""
    return filter_params(meter.filters)


def filter_params(filters: Sequence[Filter]) -> list[tuple[str, str, list[str]]]:
    """Property, operator and values of each filter; numbers as texts."""
    return [(one.property, _AS_LISTS.get(one.op, one.op).value, _texts(one)) for one in filters]


def _texts(one: Filter) -> list[str]:
    match one.value:
        case None:
            return []
        case Decimal():
            return [canonical(one.value)]
        case str():
            return [one.value]
        case _:
            return list(one.value)
