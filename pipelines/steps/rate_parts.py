"""What the parts of a period come to: each by its own price, in view of the usage that the period had before it.

Where the same price goes on after a pause, its parts together come to what one part would have. Where another price of
the same feature takes over, it begins in its first tier, or goes on where the usage has got to if its plan says so.
Both need quantities that can be put together; an average or a number of unique values is counted for each part alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from billing.advance import true_up
from billing.exact import EXACT
from billing.meter import AggregationType
from billing.period import Period, Schedule
from billing.proration import share
from billing.rating import Rated, rate, rate_part
from pipelines.steps.plan_prices import Part

__all__ = ["rate_parts"]


@dataclass(frozen=True)
class _Used:
    """A metered part that came before, with its quantity and where its price had begun."""

    part: Part
    quantity: Decimal
    since: Decimal | None
    reached: Decimal


def rate_parts(parts: Sequence[Part], quantities: Sequence[Decimal], currency: str, schedule: Schedule) -> list[Rated]:
    """The parts' lines. `quantities` are the metered ones, for a part without a meter the part's own.

    `schedule` is the subscription's: a flat price is due for the share of the whole period that its part is in.
    """
    rated: list[Rated] = []
    used: list[_Used] = []
    for part, quantity in zip(parts, quantities, strict=True):
        if part.settles is not None:
            rated.append(true_up(part.settles, currency))
            continue
        if part.price.meter is None:
            served = _served(part.period, schedule)
            rated.append(rate(part.price.record.price, quantity, currency, served, quantity))
            continue
        since, before, after = _progress(part, quantity, used)
        used.append(_Used(part, quantity, since, after))
        price = part.price.record.price
        rated.append(rate_part(price, quantity, currency, since=since, before=before, after=after))
    return rated


@lru_cache(maxsize=4096)
def _served(period: Period, schedule: Schedule) -> Fraction | None:
    """The share of the whole period, None where it is all of it. Of a billing day most ask for the same."""
    served = share(period, schedule.full_period(period))
    return None if served == 1 else served


def _progress(part: Part, quantity: Decimal, used: Sequence[_Used]) -> tuple[Decimal | None, Decimal | None, Decimal]:
    """`since`, `before` and `after` of `billing.rating.rate_part`."""
    earlier = [each for each in used if each.part.period.end <= part.period.start and _same_usage(each.part, part)]
    kind = part.price.meter.aggregation.type if part.price.meter else AggregationType.COUNT
    if earlier and (kind.is_summable or kind is AggregationType.MAX):
        last = max(earlier, key=lambda each: each.part.period.end)
        same = [each for each in earlier if _same_price(each.part, part)]
        if same and same[-1].part.period.end == last.part.period.end:
            before = same[-1].reached
            after = max(before, quantity) if kind is AggregationType.MAX else EXACT.add(before, quantity)
            return same[-1].since, before, after
        if part.price.continues and kind.is_summable:
            since = _sum(earlier)
            return since, None, EXACT.add(since, quantity)
    return None, None, quantity


def _same_usage(one: Part, other: Part) -> bool:
    return one.price.record.feature_id == other.price.record.feature_id


def _same_price(one: Part, other: Part) -> bool:
    return (one.price.record.id, one.price.record.version) == (other.price.record.id, other.price.record.version)


def _sum(earlier: Sequence[_Used]) -> Decimal:
    """The usage of all the time before, once: several prices may have billed the same."""
    total, covered = Decimal(0), None
    for each in sorted(earlier, key=lambda each: (each.part.period.start, -each.part.period.length)):
        if covered is None or each.part.period.start >= covered:
            total, covered = EXACT.add(total, each.quantity), each.part.period.end
    return total
