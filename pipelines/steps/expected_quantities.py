"""The gate `quantities_as_expected`: a quantity far from those of the periods before is looked at by a person."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing.exact import canonical
from ledger.store.quantities import QuantityRecord
from pipelines.steps.billing_day import Due

__all__ = ["EXPECTED", "Expected", "surprises"]

# A handful of events doubles and halves all the time, and nobody wants to be asked.
_FEW_EVENTS = 100


@dataclass(frozen=True)
class Expected:
    """A quantity is held when it is `jump` times the median of the last `periods`, or the `drop`-th part of it.

    0 for either asks nobody; a subscription with fewer whole periods behind it is not compared.
    """

    periods: int = 3
    jump: Decimal = Decimal(10)
    drop: Decimal = Decimal(10)


EXPECTED = Expected()


def surprises(
    due: Due, recorded: Sequence[QuantityRecord], before: Iterable[QuantityRecord], expected: Expected
) -> Iterator[str]:
    """What is out of the ordinary; only prices that billed the whole period are compared, with whole periods.

    `before` are quantities of the subscription, the latest period first.
    """
    trailing: defaultdict[str, list[QuantityRecord]] = defaultdict(list)
    for record in before:
        is_before = record.period_start < due.period.start
        if is_before and _is_whole(record) and len(trailing[record.price_id]) < expected.periods:
            trailing[record.price_id].append(record)
    for record in filter(_is_whole, recorded):
        known = trailing[record.price_id]
        if expected.periods and len(known) == expected.periods:
            usual = sorted(known, key=lambda each: each.quantity)[expected.periods // 2]
            yield from _surprise(record, usual, expected)


def _surprise(record: QuantityRecord, usual: QuantityRecord, expected: Expected) -> Iterator[str]:
    if max(record.events, usual.events) < _FEW_EVENTS or usual.quantity <= 0:
        return
    said = f"{record.price_id}: {canonical(record.quantity)}, and {canonical(usual.quantity)} in the periods before"
    if expected.jump and record.quantity >= usual.quantity * expected.jump:
        yield f"{said}: a jump of {canonical(expected.jump)} times or more"
    elif expected.drop and record.quantity * expected.drop <= usual.quantity:
        yield f"{said}: a drop to a part of {canonical(expected.drop)} or less"


def _is_whole(record: QuantityRecord) -> bool:
    return (record.segment_start, record.segment_end) == (record.period_start, record.period_end)
