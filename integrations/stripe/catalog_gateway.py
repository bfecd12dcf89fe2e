"""`billing.catalog_port.CatalogGateway` over the official Stripe client."""

from datetime import datetime
from typing import Any, cast

from billing.catalog_port import (
    OUR_PLAN,
    OUR_PRICE,
    OUR_SUBSCRIPTION,
    NewCatalogPrice,
    NewProduct,
    NewProviderSubscription,
    ProviderPrice,
    ProviderProduct,
    ProviderSubscription,
    SubscriptionState,
)
from billing.interval import Interval
from integrations.stripe import catalog
from integrations.stripe.calls import PAGE, Calls


class CatalogCalls(Calls):
    """Plans, prices and subscriptions at Stripe."""

    def create_product(self, product: NewProduct, key: str) -> ProviderProduct:
        params = cast("Any", catalog.product_params(product))
        return catalog.product(self._one(lambda: self._api.products.create(params, {"idempotency_key": key})))

    def update_product(self, product_id: str, product: NewProduct, key: str) -> ProviderProduct:
        params = cast("Any", catalog.product_update_params(product))
        return catalog.product(
            self._one(lambda: self._api.products.update(product_id, params, {"idempotency_key": key}))
        )

    def find_product(self, our_id: str, since: datetime) -> ProviderProduct | None:
        params = cast("Any", {"created": {"gte": int(since.timestamp())}, "limit": PAGE})
        found = self._carrying(OUR_PLAN, our_id, lambda: self._api.products.list(params))
        return None if found is None else catalog.product(found)

    def create_price(self, price: NewCatalogPrice, key: str) -> ProviderPrice:
        params = cast("Any", catalog.price_params(price))
        return catalog.price(self._one(lambda: self._api.prices.create(params, {"idempotency_key": key})))

    def set_price_active(self, price_id: str, active: bool, key: str) -> ProviderPrice:
        params = cast("Any", {"active": active})
        return catalog.price(self._one(lambda: self._api.prices.update(price_id, params, {"idempotency_key": key})))

    def find_price(self, product_id: str, our_id: str) -> ProviderPrice | None:
        params = cast("Any", {"product": product_id, "limit": PAGE})
        found = self._carrying(OUR_PRICE, our_id, lambda: self._api.prices.list(params))
        return None if found is None else catalog.price(found)

    def has_interval(self, interval: Interval) -> bool:
        return catalog.recurring(interval) is not None

    def create_subscription(self, subscription: NewProviderSubscription, key: str) -> ProviderSubscription:
        params = cast("Any", catalog.subscription_params(subscription))
        return catalog.subscription(self._one(lambda: self._api.subscriptions.create(params, {"idempotency_key": key})))

    def get_subscription(self, subscription_id: str) -> ProviderSubscription:
        return catalog.subscription(self._one(lambda: self._api.subscriptions.retrieve(subscription_id)))

    def find_subscription(self, customer_id: str, our_id: str) -> ProviderSubscription | None:
        params = cast("Any", {"customer": customer_id, "status": "all", "limit": PAGE})
        found = self._carrying(OUR_SUBSCRIPTION, our_id, lambda: self._api.subscriptions.list(params))
        return None if found is None else catalog.subscription(found)

    def update_subscription(
        self, present: ProviderSubscription, wanted: SubscriptionState, currency: str, interval: Interval, key: str
    ) -> ProviderSubscription:
        params = cast("Any", catalog.subscription_update_params(present, wanted, currency, interval))
        return catalog.subscription(
            self._one(lambda: self._api.subscriptions.update(present.id, params, {"idempotency_key": key}))
        )

    def cancel_subscription(self, subscription_id: str) -> ProviderSubscription:
        # DELETE takes no key: what has ended is not found, so it ends once.
        return catalog.subscription(self._one(lambda: self._api.subscriptions.cancel(subscription_id)))
