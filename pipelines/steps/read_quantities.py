"""Reads the quantities of many subscriptions in as few queries as there are meters and periods.

A query is asked for many customers at once. When one of them cannot be answered for, the query is split until it is
alone, so that the others get their numbers.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from billing.errors import TallyError, Unavailable
from billing.meter import Meter
from billing.period import Period
from billing.scope import Scope
from warehouse_sql import usage
from warehouse_sql.client import Warehouse
from warehouse_sql.usage import Quantity

__all__ = ["Ahead", "Answers", "Wanted", "read_many", "reading_ahead"]

_WORKERS = 2
# So many that asking costs little beside the answer, and so few that there is something to do while others are read.
_CUSTOMERS_AT_ONCE = 2500


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
    """Every wanted quantity is either found or has an error; `queries` is how many were asked."""

    found: dict[Wanted, Quantity]
    errors: dict[Wanted, TallyError]
    queries: int


@dataclass(frozen=True)
class _Query:
    scope: Scope
    meter: Meter
    period: Period
    watermark: datetime

    def __hash__(self) -> int:
        return hash((self.meter.id, self.period.start))


# Wanted quantities of one query by the customer's name.
_Slice = dict[str, Wanted]
_Outcome = tuple[Sequence[str], dict[str, Quantity] | TallyError]


class Ahead:
    """Wanted quantities while they are read: `await_for` some of them, and their answers are there."""

    def __init__(self, pool: Executor, warehouse: Warehouse, wanted: Iterable[Wanted], *, rollups: bool) -> None:
        self.found: dict[Wanted, Quantity] = {}
        self.errors: dict[Wanted, TallyError] = {}
        self.queries = 0
        self._asked: dict[Wanted, Future[tuple[_Slice, list[_Outcome]]]] = {}
        for query, some in _slices(wanted):
            asked = pool.submit(_answered, warehouse, query, some, rollups)
            self._asked |= dict.fromkeys(some.values(), asked)
        self._open = set(self._asked.values())

    def await_for(self, wanted: Iterable[Wanted]) -> None:
        """Waits until these are answered. Raises Unavailable when the warehouse is."""
        for asked in {self._asked[one] for one in wanted} & self._open:
            some, outcomes = asked.result()
            self._open.remove(asked)
            for names, answer in outcomes:
                self.queries += 1
                if isinstance(answer, TallyError):
                    self.errors |= {some[name]: answer for name in names}
                else:
                    self.found |= {some[name]: answer[name] for name in names}

    def answers(self) -> Answers:
        """All of them."""
        self.await_for(self._asked)
        return Answers(self.found, self.errors, self.queries)


@contextmanager
def reading_ahead(warehouse: Warehouse, wanted: Iterable[Wanted], *, rollups: bool) -> Iterator[Ahead]:
    """The wanted quantities, from clean rollups and the events of all other days, or from the events alone: those of
    the first customers by name first. They are read while the block works."""
    with ThreadPoolExecutor(_WORKERS, "quantities") as pool:
        try:
            yield Ahead(pool, warehouse, wanted, rollups=rollups)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def read_many(warehouse: Warehouse, wanted: Iterable[Wanted], *, rollups: bool) -> Answers:
    """The same, all of them at once.

    Raises Unavailable when the warehouse is: then no other query would do better.
    """
    with reading_ahead(warehouse, wanted, rollups=rollups) as ahead:
        return ahead.answers()


def _slices(wanted: Iterable[Wanted]) -> Iterator[tuple[_Query, _Slice]]:
    """By query so many customers at once, in the order of their names."""
    queries: defaultdict[_Query, _Slice] = defaultdict(dict)
    for one in wanted:
        queries[_Query(one.scope, one.meter, one.period, one.watermark)][one.customer_id] = one
    ordered = {query: sorted(some) for query, some in queries.items()}
    for start in range(0, max(map(len, ordered.values()), default=0), _CUSTOMERS_AT_ONCE):
        for query, names in ordered.items():
            if some := names[start : start + _CUSTOMERS_AT_ONCE]:
                yield query, {name: queries[query][name] for name in some}


def _answered(warehouse: Warehouse, query: _Query, some: _Slice, rollups: bool) -> tuple[_Slice, list[_Outcome]]:
    return some, list(_ask(warehouse, query, list(some), rollups))


def _ask(warehouse: Warehouse, query: _Query, names: Sequence[str], rollups: bool) -> Iterator[_Outcome]:
    try:
        yield (
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
            yield names, error
            return
        middle = len(names) // 2
        yield from _ask(warehouse, query, names[:middle], rollups)
        yield from _ask(warehouse, query, names[middle:], rollups)
