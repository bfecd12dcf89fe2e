"""Reads the quantities of many subscriptions in as few queries as there are meters and periods.

A query is asked for many customers at once. When one of them cannot be answered for, the query is split until it is
alone, so that the others get their numbers.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from billing.errors import TallyError, Unavailable
from billing.meter import Meter
from billing.period import Period
from billing.scope import Scope
from warehouse_sql import usage
from warehouse_sql.client import Warehouse
from warehouse_sql.usage import Quantity

__all__ = ["Answers", "Wanted", "read_many"]

_WORKERS = 2


@dataclass(frozen=True)
class Wanted:
    """One customer's quantity of a meter in a period. `customer_id` is the caller's own (external) id."""

    scope: Scope
    meter: Meter
    period: Period
    watermark: datetime
    customer_id: str

    def __hash__(self) -> int:
        # Of a hundred thousand each is looked up several times: what tells most of them apart is enough.
        return hash((self.customer_id, self.meter.id, self.period.start))


@dataclass(frozen=True)
class Answers:
    """Every wanted quantity is either found or has an error."""

    found: dict[Wanted, Quantity]
    errors: dict[Wanted, TallyError]
    queries: int


@dataclass(frozen=True)
class _Query:
    scope: Scope
    meter: Meter
    period: Period
    watermark: datetime


def read_many(warehouse: Warehouse, wanted: Iterable[Wanted], *, rollups: bool) -> Answers:
    """The wanted quantities, from clean rollups and the events of all other days, or from the events alone.

    Raises Unavailable when the warehouse is: then no other query would do better.
    """
    customers: defaultdict[_Query, set[str]] = defaultdict(set)
    for one in wanted:
        customers[_Query(one.scope, one.meter, one.period, one.watermark)].add(one.customer_id)
    found: dict[Wanted, Quantity] = {}
    errors: dict[Wanted, TallyError] = {}
    queries = 0
    with ThreadPoolExecutor(_WORKERS) as pool:
        asked = customers.items()
        for outcomes in pool.map(lambda one: list(_ask(warehouse, one[0], sorted(one[1]), rollups)), asked):
            for query, names, answer in outcomes:
                queries += 1
                for name in names:
                    key = Wanted(query.scope, query.meter, query.period, query.watermark, name)
                    if isinstance(answer, TallyError):
                        errors[key] = answer
                    else:
                        found[key] = answer[name]
    return Answers(found, errors, queries)


def _ask(
    warehouse: Warehouse, query: _Query, names: Sequence[str], rollups: bool
) -> Iterator[tuple[_Query, Sequence[str], dict[str, Quantity] | TallyError]]:
    try:
        yield (
            query,
            names,
            usage.read_quantities(
                warehouse,
                query.scope,
                query.meter,
                query.period.start,
                query.period.end,
                names,
                watermark=query.watermark,
                rollups=rollups,
            ),
        )
    except Unavailable:
        raise
    except TallyError as error:
        if len(names) == 1:
            yield query, names, error
            return
        middle = len(names) // 2
        yield from _ask(warehouse, query, names[:middle], rollups)
        yield from _ask(warehouse, query, names[middle:], rollups)
