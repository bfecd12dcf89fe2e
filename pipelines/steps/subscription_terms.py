"""The seats and special prices of a subscription, as entries of its history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.orm import Session

from billing.errors import InvalidInput, join
from billing.exact import canonical
from billing.price import revise_price
from billing.price_version import PriceStatus
from billing.scope import Scope
from billing.subscription import ChangeKind
from ledger.store import price_changes, prices
from ledger.store.plans import PlanRecord
from ledger.store.prices import PriceRecord
from ledger.store.subscription_changes import NewChange
from ledger.store.subscriptions import SubscriptionRecord

__all__ = ["NewOverride", "NewQuantity", "override_changes", "quantity_changes"]


@dataclass(frozen=True)
class NewQuantity:
    """Seats of a flat price of the plan."""

    price_id: str
    quantity: Decimal


@dataclass(frozen=True)
class NewOverride:
    """Other terms for a price of the plan: fields of its JSON, null to take one away; None ends the override."""

    price_id: str
    terms: Mapping[str, Any] | None
    display_name: str | None = None


def quantity_changes(
    plan: PlanRecord, quantities: Sequence[NewQuantity], moment: datetime, reason: str | None
) -> list[NewChange]:
    """InvalidInput `price_not_in_plan`, `quantity_not_for_price`, below `quantities[i]`."""
    changes = []
    for index, wanted in enumerate(quantities):
        price = _price_of(plan, wanted.price_id, f"quantities[{index}]")
        if not price.price.is_flat:
            raise InvalidInput(
                "quantity_not_for_price",
                "is a price of usage, whose quantity is metered",
                field=f"quantities[{index}].price_id",
                hint="Name a flat price of the plan.",
            )
        values = {"price_id": price.id, "quantity": canonical(wanted.quantity)}
        changes.append(NewChange(ChangeKind.QUANTITY_CHANGED, moment, values, reason=reason))
    return changes


def override_changes(
    session: Session,
    scope: Scope,
    subscription: SubscriptionRecord,
    plan: PlanRecord,
    overrides: Sequence[NewOverride],
    moment: datetime,
    reason: str | None,
    now: datetime,
) -> list[NewChange]:
    """Writes the prices that stand in, and says where each begins to. The caller holds the plan's prices.

    InvalidInput `price_not_in_plan` and those of a price, below `price_overrides[i]`.
    """
    changes = []
    for index, wanted in enumerate(overrides):
        field = f"price_overrides[{index}]"
        price = _price_of(plan, wanted.price_id, field)
        override = None
        if wanted.terms is not None:
            base = prices.version_at(session, scope, price.id, moment)
            try:
                terms = revise_price(base.price, wanted.terms)
            except InvalidInput as error:
                raise error.within(join(field, "price")) from error
            override = price_changes.put_override(
                session, scope, subscription.id, base, terms, wanted.display_name or base.display_name, moment, now
            )
        values = {
            "price_id": price.id,
            "override_id": override and override.id,
            "override_version": override and override.version,
        }
        changes.append(NewChange(ChangeKind.PRICE_OVERRIDDEN, moment, values, reason=reason))
    return changes


def _price_of(plan: PlanRecord, price_id: str, field: str) -> PriceRecord:
    for price in plan.prices:
        if price.id == price_id and price.status is PriceStatus.ACTIVE:
            return price
    raise InvalidInput(
        "price_not_in_plan",
        "is no price of the plan that the subscription is on then",
        field=join(field, "price_id"),
        hint=f"GET /api/v1/plans/{plan.id} lists them.",
    )
