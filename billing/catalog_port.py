"""What billing needs from a provider for the catalog: plans, prices and subscriptions, as they are shown there.

None of it is ever charged there. A price that the provider cannot express costs nothing there, and so does the item of
every subscription. Conventions and errors are those of `billing.ports`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from billing.interval import Interval
from billing.price import Price

# The metadata keys under which our ids travel.
OUR_PLAN = "tallyhouse_plan_id"
OUR_PRICE = "tallyhouse_price_id"
OUR_SUBSCRIPTION = "tallyhouse_subscription_id"


@dataclass(frozen=True, slots=True)
class NewProduct:
    """A plan. One that is not `active` is sold to nobody new."""

    name: str
    description: str | None
    active: bool
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ProviderProduct:
    id: str
    active: bool
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NewCatalogPrice:
    """One version of a price of a plan, which never changes but for being active."""

    product_id: str
    name: str
    price: Price
    currency: str
    interval: Interval
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ProviderPrice:
    id: str
    active: bool
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NewProviderSubscription:
    """A mirror of a running subscription: one item that costs nothing, of the plan's product.

    `period_end` is where the present period ends; in a trial `trial_end` stands for it. Times are whole seconds.
    """

    customer_id: str
    product_id: str
    currency: str
    interval: Interval
    start: datetime
    period_end: datetime | None
    trial_end: datetime | None
    cancel_at: datetime | None
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """What a subscription and its mirror have in common. `cancel_at` is an end that is still to come.

    `product_id` is changed by putting another item that costs nothing in the place of the present one.
    """

    product_id: str
    paused: bool
    cancel_at: datetime | None


@dataclass(frozen=True, slots=True)
class ProviderSubscription:
    """A subscription as the provider sees it now. `bills` is true when an item of it costs something there."""

    id: str
    item_id: str
    ended_at: datetime | None
    state: SubscriptionState
    bills: bool
    metadata: Mapping[str, str]


class CatalogGateway(Protocol):
    """The provider's catalog through one connection's key; errors and `find_…` as in `billing.ports.PaymentGateway`."""

    def create_product(self, product: NewProduct, key: str) -> ProviderProduct: ...
    def update_product(self, product_id: str, product: NewProduct, key: str) -> ProviderProduct: ...
    def find_product(self, our_id: str, since: datetime) -> ProviderProduct | None: ...
    def create_price(self, price: NewCatalogPrice, key: str) -> ProviderPrice: ...
    def set_price_active(self, price_id: str, active: bool, key: str) -> ProviderPrice: ...
    def find_price(self, product_id: str, our_id: str) -> ProviderPrice | None: ...
    def has_interval(self, interval: Interval) -> bool:
        """Whether anything can recur so seldom there."""
        ...

    def create_subscription(self, subscription: NewProviderSubscription, key: str) -> ProviderSubscription: ...
    def get_subscription(self, subscription_id: str) -> ProviderSubscription: ...
    def find_subscription(self, customer_id: str, our_id: str) -> ProviderSubscription | None: ...
    def update_subscription(
        self, present: ProviderSubscription, wanted: SubscriptionState, currency: str, interval: Interval, key: str
    ) -> ProviderSubscription: ...
    def cancel_subscription(self, subscription_id: str) -> ProviderSubscription:
        """Ends it now. ProviderNotFound where it has ended already."""
        ...
