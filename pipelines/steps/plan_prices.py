"""Which prices a period is billed by, for which part of it, and which of them need usage."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy.orm import Session

from billing.advance import Settlement
from billing.instant import format_instant
from billing.meter import Meter
from billing.period import Period
from billing.price_version import billed_in
from billing.scope import Scope
from billing.subscription import ChangeKind, Override, Segment
from ledger.store import features, meters, plans, prices
from ledger.store.prices import PriceRecord
from pipelines.steps.billing_day import Due

__all__ = ["Catalog", "DuePrice", "Part"]

_ONE = Decimal(1)
_MOST_KEPT = 10_000


@dataclass(frozen=True)
class DuePrice:
    """A price in the version that bills the period. `meter` is None where no usage is read for it.

    `continues` says that its plan's usage prices go on where the usage of the period has got to under other prices.
    """

    record: PriceRecord
    meter: Meter | None
    continues: bool = False

    @property
    def plan_price_id(self) -> str:
        """The price of the plan that this is, or stands in for."""
        return self.record.overrides or self.record.id


@dataclass(frozen=True)
class Part:
    """A price over the time that it bills within a period: one line, found again by `key`.

    `quantity` is the seats of a flat price, one for any other. `settles` is what a part bills that only takes off what
    was billed in advance, and for the rest of what is due then.
    """

    key: str
    period: Period
    price: DuePrice
    quantity: Decimal
    settles: Settlement | None = None


class Catalog:
    """Reads prices and meters of many periods, each of them once for a whole step."""

    def __init__(self) -> None:
        self._prices: dict[tuple[Scope, str], list[tuple[PriceRecord, ...]]] = {}
        self._meters: dict[tuple[Scope, str], Meter | None] = {}
        self._continues: dict[tuple[Scope, str], bool] = {}
        self._advance: dict[tuple[Scope, str], bool] = {}
        self._versions: dict[tuple[Scope, str, int | None], PriceRecord] = {}
        self._meter_versions: dict[tuple[Scope, str, int | None], Meter] = {}
        self._plain: dict[tuple[Scope, str, Period, Period], tuple[Part, ...]] = {}

    def forget_prices(self) -> None:
        """Lets the prices be read again, as they have to be once they are held."""
        self._prices.clear()
        self._advance.clear()
        self._plain.clear()

    def recorded_price(self, session: Session, scope: Scope, price_id: str, version: int | None) -> PriceRecord:
        """A version of a price, which never changes. NotFound `price_not_found`."""
        key = (scope, price_id, version)
        if key not in self._versions:
            self._versions[key] = prices.get_price(session, scope, price_id, version)
        return self._versions[key]

    def recorded_meter(self, session: Session, scope: Scope, meter_id: str, version: int | None) -> Meter:
        """A version of a meter, which never changes. NotFound `meter_not_found`."""
        key = (scope, meter_id, version)
        if key not in self._meter_versions:
            self._meter_versions[key] = meters.get_meter(session, scope, meter_id, version)
        return self._meter_versions[key]

    def continues(self, session: Session, scope: Scope, plan_id: str) -> bool:
        """Whether the plan's usage prices go on where the usage of the period has got to under other prices."""
        if (scope, plan_id) not in self._continues:
            terms = plans.terms_of(session, scope, [plan_id])[plan_id]
            self._continues[scope, plan_id] = terms.tier_progress == "continue"
        return self._continues[scope, plan_id]

    def parts_of(self, session: Session, due: Due) -> tuple[Part, ...]:
        """What a period is billed by: each price over the time in which nothing changes for it, by segment and then in
        the plan's order. NotFound where a feature or a meter is gone.

        `billing.price_version` says which version bills which period; what is archived by then is left out.
        """
        only = due.segments[0] if len(due.segments) == 1 else None
        if only is None or not only.billed or only.quantities or only.overrides:
            return self._cut(session, due)
        # Most subscriptions are like others of their plan: they share their parts.
        key = (due.scope, only.plan_id, due.period, only.period)
        if key not in self._plain:
            if len(self._plain) >= _MOST_KEPT:
                self._plain.clear()
            self._plain[key] = self._cut(session, due)
        return self._plain[key]

    def _cut(self, session: Session, due: Due) -> tuple[Part, ...]:
        found: list[Part] = []
        last_of: dict[str, int] = {}
        for segment in due.segments:
            if not segment.billed:
                continue
            for part in self._of_segment(session, due, segment):
                last = last_of.get(part.price.plan_price_id)
                if last is not None and _goes_on(found[last], part):
                    found[last] = replace(found[last], period=Period(found[last].period.start, part.period.end))
                else:
                    last_of[part.price.plan_price_id] = len(found)
                    found.append(part)
        return _keyed(found)

    def has_advance(self, session: Session, due: Due) -> bool:
        """Whether any price that the subscription ever had, or will have by its history, may be billed in advance.

        Most have none, and are spared the look at the periods before and after.
        """
        history = due.subscription.history
        if not history:
            return self._plan_has_advance(session, due.scope, due.subscription.plan_id)
        if any(change.kind is ChangeKind.PRICE_OVERRIDDEN for change in history):
            return True
        return any(self._plan_has_advance(session, due.scope, each) for each in due.subscription.plan_ids)

    def _plan_has_advance(self, session: Session, scope: Scope, plan_id: str) -> bool:
        if (scope, plan_id) not in self._advance:
            every = self._prices_of_plan(session, scope, plan_id)
            self._advance[scope, plan_id] = any(one.price.in_advance for versions in every for one in versions)
        return self._advance[scope, plan_id]

    def _prices_of_plan(self, session: Session, scope: Scope, plan_id: str) -> list[tuple[PriceRecord, ...]]:
        if (scope, plan_id) not in self._prices:
            self._prices[scope, plan_id] = prices.versions_by_price(session, scope, plan_id)
        return self._prices[scope, plan_id]

    def _of_segment(self, session: Session, due: Due, segment: Segment) -> Iterator[Part]:
        for price in self._prices_of(session, due, segment.plan_id):
            override = segment.overrides.get(price.record.id)
            billed = price if override is None else self._override(session, due.scope, override, price)
            seats = segment.quantities.get(price.record.id, _ONE) if billed.record.price.is_flat else _ONE
            yield Part(billed.record.id, segment.period, billed, seats)

    def _prices_of(self, session: Session, due: Due, plan_id: str) -> tuple[DuePrice, ...]:
        every = self._prices_of_plan(session, due.scope, plan_id)
        continues = self.continues(session, due.scope, plan_id)
        return tuple(
            DuePrice(price, self._meter_of(session, due.scope, price), continues)
            for versions in every
            if (price := billed_in(versions, due.period)) is not None
        )

    def _override(self, session: Session, scope: Scope, override: Override, price: DuePrice) -> DuePrice:
        return replace(price, record=self.recorded_price(session, scope, override.price_id, override.version))

    def _meter_of(self, session: Session, scope: Scope, price: PriceRecord) -> Meter | None:
        if price.price.is_flat or price.feature_id is None:
            return None
        if (scope, price.feature_id) not in self._meters:
            feature = features.get_feature(session, scope, price.feature_id)
            self._meters[scope, price.feature_id] = (
                None if feature.meter_id is None else meters.get_meter(session, scope, feature.meter_id)
            )
        return self._meters[scope, price.feature_id]


def _goes_on(last: Part, part: Part) -> bool:
    return (last.period.end, last.price, last.quantity) == (part.period.start, part.price, part.quantity)


def _keyed(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The price's id where it has one part, else with the start of each."""
    ids = [part.price.record.id for part in parts]
    several = {price_id for price_id in ids if ids.count(price_id) > 1} if len(set(ids)) < len(ids) else set()
    return tuple(
        replace(part, key=_key(part.key, part.period.start)) if part.key in several else part for part in parts
    )


def _key(price_id: str, start: datetime) -> str:
    return f"{price_id}@{format_instant(start)}"
