"""Which prices a period is billed by, and which of them need usage."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from billing.meter import Meter
from billing.period import Period
from billing.scope import Scope
from ledger.store import features, meters, prices
from ledger.store.prices import PriceRecord
from pipelines.steps.billing_day import Due

__all__ = ["Catalog", "DuePrice"]


@dataclass(frozen=True)
class DuePrice:
    """A price in the version that bills the period. `meter` is None where no usage is read for it."""

    record: PriceRecord
    meter: Meter | None


class Catalog:
    """Reads prices and meters of many periods, each of them once for a whole step."""

    def __init__(self) -> None:
        self._prices: dict[tuple[Scope, str, Period], tuple[DuePrice, ...]] = {}
        self._meters: dict[tuple[Scope, str], Meter | None] = {}

    def prices_of(self, session: Session, due: Due) -> tuple[DuePrice, ...]:
        """The prices of a period in the plan's order. NotFound where a feature or a meter is gone.

        `billing.price_version` says which version bills which period; what is archived by then is left out.
        """
        key = (due.scope, due.subscription.plan_id, due.period)
        if key not in self._prices:
            billed = prices.prices_billed_in(session, due.scope, due.subscription.plan_id, due.period)
            self._prices[key] = tuple(DuePrice(price, self._meter_of(session, due.scope, price)) for price in billed)
        return self._prices[key]

    def _meter_of(self, session: Session, scope: Scope, price: PriceRecord) -> Meter | None:
        if price.price.is_flat or price.feature_id is None:
            return None
        if (scope, price.feature_id) not in self._meters:
            feature = features.get_feature(session, scope, price.feature_id)
            self._meters[scope, price.feature_id] = (
                None if feature.meter_id is None else meters.get_meter(session, scope, feature.meter_id)
            )
        return self._meters[scope, price.feature_id]
